"""Node objects, and an index of the addresses of nodes and their pods. Pure.

A node writes its own object: `status.addresses` at any time, `spec.podCIDR` when it registers. Therefore an
address is accepted only within ranges that the operator configured, and belongs to the node that claimed it
first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec

from superedge.kube.json import decode
from superedge.net.names import is_address
from superedge.net.networks import unmapped_address

MAX_ADDRESSES = 16
"""Addresses that are read of one node; a kubelet has one or two of each type."""
MAX_NETWORKS = 2
"""Pod networks that are read of one node; the Kubernetes API allows one of each address family."""

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


class Node(NamedTuple):
    """``addresses`` are IP literals in the object's order; ``networks`` are those of its pods.

    The API server, not the node, sets ``created`` (RFC 3339) and ``uid``.
    """

    name: str
    addresses: tuple[str, ...]
    networks: tuple[_Network, ...]
    created: str = ""
    uid: str = ""


class _NodeAddress(msgspec.Struct, frozen=True):
    address: str = ""


class _Status(msgspec.Struct, frozen=True):
    addresses: list[_NodeAddress] | None = None


class _Spec(msgspec.Struct, frozen=True):
    podCIDR: str = ""
    podCIDRs: list[str] | None = None


class _Metadata(msgspec.Struct):
    name: str
    creationTimestamp: str | None = None
    uid: str = ""


class _Node(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec = _Spec()
    status: _Status = _Status()


def read_node(raw: bytes) -> Node:
    """Decode a Node object, skipping addresses and networks that are invalid. Raises DecodeError."""
    found: _Node = decode(_Node, raw)
    addresses = dict.fromkeys(
        str(unmapped_address(each.address))
        for each in found.status.addresses or ()
        if is_address(each.address)
    )
    networks = []
    for text in found.spec.podCIDRs or [found.spec.podCIDR]:
        try:
            networks.append(ip_network(text))
        except ValueError:
            continue
    metadata = found.metadata
    return Node(
        metadata.name.lower(),
        tuple(addresses)[:MAX_ADDRESSES],
        tuple(networks)[:MAX_NETWORKS],
        metadata.creationTimestamp or "",
        metadata.uid,
    )


class Ranges:
    """The ranges in which Node objects may claim addresses. An empty list of ranges accepts none."""

    def __init__(
        self, nodes: Sequence[str] = (), pods: Sequence[str] = (), reserved: Sequence[str] = ()
    ) -> None:
        """Networks in CIDR notation. ``reserved`` overrides the other two."""
        self._nodes, self._pods, self._reserved = (
            [ip_network(text) for text in texts] for texts in (nodes, pods, reserved)
        )

    def plausible(self, text: str) -> bool:
        """Whether an IP literal may be a machine's own address."""
        address = unmapped_address(text)
        return not (
            address.is_loopback
            or address.is_link_local
            or address.is_multicast
            or address.is_unspecified
            or any(address in network for network in (*self._reserved, *self._pods))
        )

    def fault_of_address(self, text: str) -> Refusal | None:
        """Why a node may not claim an IP literal as its own; None when it may."""
        if not self.plausible(text):
            return "reserved"
        address = unmapped_address(text)
        return None if any(address in network for network in self._nodes) else "range"

    def fault_of_network(self, network: _Network) -> Refusal | None:
        """Why a node may not claim a network for its pods; None when it may."""
        if any(network.version == each.version and network.overlaps(each) for each in self._reserved):
            return "reserved"
        inside = (_within(network, each) for each in self._pods)
        return None if any(inside) else "range"


Refusal = Literal["range", "reserved", "held"]
"""Why a claim is refused: outside the ranges, within a reserved one, or held by another node."""


class RefusedClaim(NamedTuple):
    """A refused claim. ``holder`` is the node that holds the address, if one does."""

    node: str
    claim: str
    reason: Refusal
    holder: str = ""


class Claim:
    """A range of addresses that a node claims for itself or for its pods."""

    __slots__ = ("created", "first", "last", "node", "of_pods", "text", "uid", "version")

    def __init__(self, node: Node, claimed: str | _Network) -> None:
        if isinstance(claimed, str):
            address = unmapped_address(claimed)
            self.version, self.first, self.last = address.version, int(address), int(address)
        else:
            self.version = claimed.version
            self.first, self.last = int(claimed.network_address), int(claimed.broadcast_address)
        self.node, self.created, self.uid = node.name, node.created, node.uid
        self.of_pods = not isinstance(claimed, str)
        self.text = str(claimed)


class _ClaimRanges:
    """The accepted claims of one address family, sorted; no two overlap."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._claims: list[Claim] = []

    def overlapping(self, first: int, last: int) -> Claim | None:
        """A claim that overlaps the range from ``first`` to ``last``."""
        at = bisect_right(self._starts, last) - 1
        return self._claims[at] if at >= 0 and self._claims[at].last >= first else None

    def add(self, claim: Claim) -> None:
        """Add a claim that overlaps no other."""
        at = bisect_right(self._starts, claim.first)
        self._starts.insert(at, claim.first)
        self._claims.insert(at, claim)

    def remove(self, claim: Claim) -> bool:
        """Remove a claim. Returns whether it was there."""
        at = bisect_right(self._starts, claim.first) - 1
        if at < 0 or self._claims[at] is not claim:
            return False
        del self._starts[at], self._claims[at]
        return True


class NodeIndex:
    """Finds nodes by name, by address and by the address of a pod.

    A node holds an address until its object no longer claims it; conflicting claims of other nodes wait.
    No claim is accepted before `settle`.
    """

    def __init__(
        self,
        ranges: Ranges,
        refused: Callable[[RefusedClaim], None] = lambda _: None,
        changed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``refused`` is called once for each claim that is refused, ``changed`` with a node whose accepted
        claims have changed."""
        self._ranges = ranges
        self._refused = refused
        self._changed = changed
        self._settled = False
        self._nodes: dict[str, Node] = {}
        self._claims: dict[str, dict[str, Claim]] = {}
        self._held = {4: _ClaimRanges(), 6: _ClaimRanges()}
        self._waiting: list[Claim] = []

    def settle(self, recorded: Mapping[str, Collection[str]] = MappingProxyType({})) -> None:
        """The initial list is complete: accept claims.

        First those in ``recorded``, the results of `held` of an earlier process by node; then those of the
        oldest objects.
        """
        self._settled = True
        held = [claim for claim in self._waiting if claim.text in recorded.get(claim.node, ())]
        new = set(self._waiting).difference(held)
        self._assign(held)
        self._assign([*self._waiting, *new], reported=set(self._waiting))

    def put(self, node: Node) -> bool:
        """Add or update a node. Returns whether it changed."""
        before = self._nodes.get(node.name)
        if before == node:
            return False
        if before is not None and before.uid != node.uid:
            self.remove(node.name)
        self._nodes[node.name] = node
        claims = self._claims.setdefault(node.name, {})
        wanted = dict(self._valid_claims(node))
        self._drop([claims.pop(text) for text in [text for text in claims if text not in wanted]])
        new = {text: claim for text, claim in wanted.items() if text not in claims}
        claims.update(new)
        if self._settled:
            self._assign([*self._waiting, *new.values()], reported=set(self._waiting))
        else:
            self._waiting += new.values()
        return True

    def remove(self, name: str) -> None:
        """Remove a node. Waiting claims for its addresses are accepted, those of the oldest objects first."""
        if self._nodes.pop(name, None) is not None:
            self._drop(list(self._claims.pop(name).values()))
            if self._settled:
                self._assign(self._waiting, reported=set(self._waiting))

    def _valid_claims(self, node: Node) -> Iterator[tuple[str, Claim]]:
        for text in node.addresses:
            fault = self._ranges.fault_of_address(text)
            if fault is None:
                yield text, Claim(node, text)
            else:
                self._refused(RefusedClaim(node.name, text, fault))
        for network in node.networks:
            fault = self._ranges.fault_of_network(network)
            if fault is None:
                yield str(network), Claim(node, network)
            else:
                self._refused(RefusedClaim(node.name, str(network), fault))

    def _drop(self, claims: Sequence[Claim]) -> None:
        gone = set()
        for claim in claims:
            if self._held[claim.version].remove(claim):
                self._changed(claim.node)
            else:
                gone.add(claim)
        self._waiting = [claim for claim in self._waiting if claim not in gone]

    def _assign(self, claims: Sequence[Claim], reported: set[Claim] | frozenset[Claim] = frozenset()) -> None:
        """Accept the claims that conflict with none. Reports each conflict that is not in ``reported``."""
        self._waiting = []
        for claim in sorted(claims, key=lambda claim: (claim.created, claim.uid)):
            held = self._held[claim.version]
            other = held.overlapping(claim.first, claim.last)
            if other is None:
                held.add(claim)
                self._changed(claim.node)
                continue
            self._waiting.append(claim)
            if claim not in reported:
                self._refused(RefusedClaim(claim.node, claim.text, "held", other.node))

    def addresses(self, name: str) -> Sequence[str] | None:
        """A node's plausible addresses; None when there is no such node."""
        node = self._nodes.get(name)
        return None if node is None else [text for text in node.addresses if self._ranges.plausible(text)]

    def names(self) -> Collection[str]:
        """The names of all nodes."""
        return self._nodes.keys()

    def held(self, name: str) -> list[str]:
        """The addresses and networks of a node whose claims are accepted, sorted."""
        return sorted(
            text
            for text, claim in self._claims.get(name, {}).items()
            if self._held[claim.version].overlapping(claim.first, claim.last) is claim
        )

    def holder(self, host: str) -> Claim | None:
        """The accepted claim that contains an IP literal."""
        address = unmapped_address(host)
        return self._held[address.version].overlapping(int(address), int(address))


def _within(network: _Network, outer: _Network) -> bool:
    return network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]
