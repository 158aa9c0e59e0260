"""Node objects: their own addresses and those of their pods. Pure.

An address that two nodes give belongs to neither: nobody may be led to the wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import NamedTuple

import msgspec

from superedge.kube.client import decode
from superedge.net.names import is_address
from superedge.net.networks import plain_address

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


class Node(NamedTuple):
    """``addresses`` are IP literals, in the object's order; ``networks`` those of its pods."""

    name: str
    addresses: tuple[str, ...]
    networks: tuple[_Network, ...]


class _NodeAddress(msgspec.Struct, frozen=True):
    address: str = ""


class _Status(msgspec.Struct, frozen=True):
    addresses: list[_NodeAddress] | None = None


class _Spec(msgspec.Struct, frozen=True):
    podCIDR: str = ""
    podCIDRs: list[str] | None = None


class _Metadata(msgspec.Struct):
    name: str


class _Node(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec = _Spec()
    status: _Status = _Status()


def read_node(raw: bytes) -> Node:
    """A Node object; what is no address or network in it is left out. Raises DecodeError."""
    found: _Node = decode(_Node, raw)
    addresses = dict.fromkeys(
        str(plain_address(each.address)) for each in found.status.addresses or () if is_address(each.address)
    )
    networks = []
    for text in found.spec.podCIDRs or [found.spec.podCIDR]:
        try:
            networks.append(ip_network(text))
        except ValueError:
            continue
    return Node(found.metadata.name.lower(), tuple(addresses), tuple(networks))


class NodeIndex:
    """Finds nodes by name, by address and by the address of a pod."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._addresses: dict[_Address, set[str]] = {}
        self._networks: dict[_Network, set[str]] = {}
        self._lengths: dict[tuple[int, int], int] = {}

    def put(self, node: Node) -> bool:
        """A node is there, or may have changed; whether anything did that counts here."""
        if self._nodes.get(node.name) == node:
            return False
        self.remove(node.name)
        self._nodes[node.name] = node
        for text in node.addresses:
            self._addresses.setdefault(plain_address(text), set()).add(node.name)
        for network in node.networks:
            owners = self._networks.setdefault(network, set())
            if not owners:
                length = (network.version, network.prefixlen)
                self._lengths[length] = self._lengths.get(length, 0) + 1
            owners.add(node.name)
        return True

    def remove(self, name: str) -> None:
        """A node is gone."""
        node = self._nodes.pop(name, None)
        if node is None:
            return
        for text in node.addresses:
            address = plain_address(text)
            self._addresses[address].discard(name)
            if not self._addresses[address]:
                del self._addresses[address]
        for network in node.networks:
            self._networks[network].discard(name)
            if not self._networks[network]:
                del self._networks[network]
                length = (network.version, network.prefixlen)
                self._lengths[length] -= 1
                if not self._lengths[length]:
                    del self._lengths[length]

    def addresses(self, name: str) -> Sequence[str] | None:
        """A node's own addresses; None when there is no such node."""
        node = self._nodes.get(name)
        return None if node is None else node.addresses

    def by_address(self, host: str) -> str | None:
        """The node that has an address (an IP literal) of its own."""
        return _only(self._addresses.get(plain_address(host)))

    def by_pod_address(self, host: str) -> str | None:
        """The node whose pods have addresses like this, by the narrowest network."""
        address = plain_address(host)
        for version, length in sorted(self._lengths, reverse=True):
            if version == address.version:
                owners = self._networks.get(ip_network((address, length), strict=False))
                if owners:
                    return _only(owners)
        return None


def _only(names: set[str] | None) -> str | None:
    return next(iter(names)) if names and len(names) == 1 else None
