"""Who may come in, by address. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


def plain_address(text: str) -> IPv4Address | IPv6Address:
    """The address of an IP literal; an IPv4 peer of a ``[::]`` listener is the IPv4 address that it is."""
    address = ip_address(text)
    if address.version == 6 and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class Networks:
    """Networks (CIDR) that a configuration names; naming none lets everyone in."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network) for network in networks]

    def allow(self, host: str) -> bool:
        """Whether an IP literal is in one of them."""
        if not self._networks:
            return True
        address = plain_address(host)
        return any(address in network for network in self._networks)
