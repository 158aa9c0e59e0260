"""Node objects: their own addresses and those of their pods. Pure.

A node writes its object itself: `status.addresses` at any time, `spec.podCIDR` when it registers. So an
address counts only within ranges that the operator named, and belongs to the node that held it first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Literal, NamedTuple

import msgspec

from superedge.kube.client import decode
from superedge.net.names import is_address
from superedge.net.networks import unmapped_address

MAX_ADDRESSES = 16
"""Addresses of one node that are looked at; a kubelet has one or two of each type."""
MAX_NETWORKS = 2
"""Pod networks of one node, as the Kubernetes API takes them: one of each family."""

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


class Node(NamedTuple):
    """``addresses`` are IP literals, in the object's order; ``networks`` those of its pods.

    ``created`` (RFC 3339) and ``uid`` are the API server's own words, which no client can choose.
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
    """A Node object; what is no address or network in it is left out. Raises DecodeError."""
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
    """Where addresses may lie that a Node object claims. Without ranges of a kind none of that kind count."""

    def __init__(
        self, nodes: Sequence[str] = (), pods: Sequence[str] = (), reserved: Sequence[str] = ()
    ) -> None:
        """Networks in the CIDR notation; ``reserved`` is what no node has, whatever the others say."""
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
        """Why an IP literal is not taken for a node's own; None when it is."""
        if not self.plausible(text):
            return "reserved"
        address = unmapped_address(text)
        return None if any(address in network for network in self._nodes) else "range"

    def fault_of_network(self, network: _Network) -> Refusal | None:
        """Why a network is not taken for that of a node's pods; None when it is."""
        if any(network.version == each.version and network.overlaps(each) for each in self._reserved):
            return "reserved"
        inside = (_within(network, each) for each in self._pods)
        return None if any(inside) else "range"


Refusal = Literal["range", "reserved", "held"]
"""Why a claim does not count: outside of the ranges, in one that no node has, or another node's."""


class Refused(NamedTuple):
    """A claim that does not count. ``holder`` is the node that has the address, if one has."""

    node: str
    claim: str
    reason: Refusal
    holder: str = ""


class Claim:
    """A stretch of addresses that a node says are its own, or its pods'."""

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


class _Held:
    """The claims that count, of one family: no two overlap."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._claims: list[Claim] = []

    def overlapping(self, first: int, last: int) -> Claim | None:
        """A claim that shares an address with the stretch."""
        at = bisect_right(self._starts, last) - 1
        return self._claims[at] if at >= 0 and self._claims[at].last >= first else None

    def add(self, claim: Claim) -> None:
        """A claim that overlaps with none."""
        at = bisect_right(self._starts, claim.first)
        self._starts.insert(at, claim.first)
        self._claims.insert(at, claim)

    def remove(self, claim: Claim) -> bool:
        """Let a claim go; whether it was held."""
        at = bisect_right(self._starts, claim.first) - 1
        if at < 0 or self._claims[at] is not claim:
            return False
        del self._starts[at], self._claims[at]
        return True


class NodeIndex:
    """Finds nodes by name, by address and by the address of a pod.

    What a node holds it keeps until its object no longer claims it; another's claim to any of that waits.
    Who was first among the nodes of the first list, the objects' age says: nothing is held before `settle`.
    """

    def __init__(self, ranges: Ranges, refused: Callable[[Refused], None] = lambda _: None) -> None:
        """``refused`` is told of each claim that does not count, when it is made."""
        self._ranges = ranges
        self._refused = refused
        self._settled = False
        self._nodes: dict[str, Node] = {}
        self._claims: dict[str, dict[str, Claim]] = {}
        self._held = {4: _Held(), 6: _Held()}
        self._waiting: list[Claim] = []

    def settle(self) -> None:
        """Every node that there was at the start is known: the older object's claim comes first."""
        self._settled = True
        self._take(self._waiting)

    def put(self, node: Node) -> bool:
        """A node is there, or may have changed; whether anything did that counts here."""
        before = self._nodes.get(node.name)
        if before == node:
            return False
        if before is not None and before.uid != node.uid:
            self.remove(node.name)
        self._nodes[node.name] = node
        claims = self._claims.setdefault(node.name, {})
        wanted = dict(self._counting(node))
        self._drop([claims.pop(text) for text in [text for text in claims if text not in wanted]])
        new = {text: claim for text, claim in wanted.items() if text not in claims}
        claims.update(new)
        if self._settled:
            self._take([*self._waiting, *new.values()], told=set(self._waiting))
        else:
            self._waiting += new.values()
        return True

    def remove(self, name: str) -> None:
        """A node is gone; who waited for what it held gets it, the oldest first."""
        if self._nodes.pop(name, None) is not None:
            self._drop(list(self._claims.pop(name).values()))
            if self._settled:
                self._take(self._waiting, told=set(self._waiting))

    def _counting(self, node: Node) -> Iterator[tuple[str, Claim]]:
        for text in node.addresses:
            fault = self._ranges.fault_of_address(text)
            if fault is None:
                yield text, Claim(node, text)
            else:
                self._refused(Refused(node.name, text, fault))
        for network in node.networks:
            fault = self._ranges.fault_of_network(network)
            if fault is None:
                yield str(network), Claim(node, network)
            else:
                self._refused(Refused(node.name, str(network), fault))

    def _drop(self, claims: Sequence[Claim]) -> None:
        gone = {claim for claim in claims if not self._held[claim.version].remove(claim)}
        self._waiting = [claim for claim in self._waiting if claim not in gone]

    def _take(self, claims: Sequence[Claim], told: set[Claim] | frozenset[Claim] = frozenset()) -> None:
        """Hold what nobody holds; the others wait, and those of them that nobody was ``told`` of are told."""
        self._waiting = []
        for claim in sorted(claims, key=lambda claim: (claim.created, claim.uid)):
            held = self._held[claim.version]
            other = held.overlapping(claim.first, claim.last)
            if other is None:
                held.add(claim)
                continue
            self._waiting.append(claim)
            if claim not in told:
                self._refused(Refused(claim.node, claim.text, "held", other.node))

    def addresses(self, name: str) -> Sequence[str] | None:
        """A node's own addresses, as far as they can be a machine's; None when there is no such node."""
        node = self._nodes.get(name)
        return None if node is None else [text for text in node.addresses if self._ranges.plausible(text)]

    def holder(self, host: str) -> Claim | None:
        """The claim that an address (an IP literal) is in, and counts."""
        address = unmapped_address(host)
        return self._held[address.version].overlapping(int(address), int(address))


def _within(network: _Network, outer: _Network) -> bool:
    return network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]
