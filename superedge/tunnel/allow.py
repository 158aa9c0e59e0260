"""The edge's allow list: the targets that the cloud may ask the node to dial."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network

from superedge.config.addresses import TCPAddress
from superedge.config.dialrules import parse_dial_rule
from superedge.net.networks import unmapped_address


class AllowList:
    """Rules ``host:port``, ``network/bits:port`` and ``glob:port``; a port may be ``*``.

    A name is allowed by a rule for the name, or by rules for the addresses that it resolves to. The dialler
    checks each address, so a name cannot lead to an address that is not allowed.
    """

    def __init__(self, rules: Sequence[str], own_addresses: Sequence[str] = ()) -> None:
        """Without rules, port 10250 on loopback and on ``own_addresses``.

        Raises ValueError for an invalid rule.
        """
        if not rules:
            rules = ["127.0.0.0/8:10250", "[::1]:10250", "localhost:10250"]
            rules += [str(TCPAddress(address, 10250)) for address in own_addresses]
        self._networks: list[tuple[IPv4Network | IPv6Network, int | None]] = []
        self._names: list[tuple[str, int | None]] = []
        for host, port in map(parse_dial_rule, rules):
            if isinstance(host, str):
                self._names.append((host, port))
            else:
                self._networks.append((host, port))

    def allows_name(self, target: TCPAddress) -> bool:
        """Whether a rule covers the host name."""
        host = target.host.lower()
        return any(fnmatchcase(host, name) and port in (None, target.port) for name, port in self._names)

    def allows_address(self, target: TCPAddress) -> bool:
        """Whether a rule covers the IP literal."""
        address = unmapped_address(target.host)
        return any(address in network and port in (None, target.port) for network, port in self._networks)
