"""Access control by the peer's IP address. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


def unmapped_address(text: str) -> IPv4Address | IPv6Address:
    """The address of an IP literal.

    An IPv4-mapped IPv6 address, as a ``[::]`` listener shows it, becomes IPv4.
    """
    address = ip_address(text)
    if address.version == 6 and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class Networks:
    """A list of allowed networks (CIDR). An empty list allows every address."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network) for network in networks]

    def allow(self, host: str) -> bool:
        """Whether an IP literal is allowed."""
        if not self._networks:
            return True
        address = unmapped_address(host)
        return any(address in network for network in self._networks)
