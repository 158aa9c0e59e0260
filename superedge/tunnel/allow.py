"""The edge's allow list: what the cloud may have dialled."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_network

from superedge.config.addresses import TCPAddress
from superedge.errors import SuperEdgeError
from superedge.net.networks import plain_address


class AllowRuleError(SuperEdgeError):
    """A rule that cannot be read."""


class AllowList:
    """Rules ``host:port``, ``network/bits:port`` and ``glob:port``; a port may be ``*``.

    A name is allowed by a rule for that name, or else by rules for the addresses it resolves to: the
    dialler asks again with each address, so that a name cannot smuggle one in.
    """

    def __init__(self, rules: Sequence[str], own_addresses: Sequence[str] = ()) -> None:
        """Without rules: port 10250 on loopback and on ``own_addresses``. Raises AllowRuleError."""
        if not rules:
            rules = ["127.0.0.0/8:10250", "[::1]:10250", "localhost:10250"]
            rules += [str(TCPAddress(address, 10250)) for address in own_addresses]
        self._networks: list[tuple[IPv4Network | IPv6Network, int | None]] = []
        self._names: list[tuple[str, int | None]] = []
        for rule in rules:
            self._add(rule)

    def _add(self, rule: str) -> None:
        host, colon, port_text = rule.rpartition(":")
        port = None if port_text == "*" else int(port_text) if port_text.isdecimal() else -1
        if not colon or not host or (port is not None and not 0 < port < 65536):
            raise AllowRuleError(f"tunnel_edge.allow: {rule!r} is not host:port, network/bits:port or host:*")
        bare = host.removeprefix("[").removesuffix("]")
        try:
            self._networks.append((ip_network(bare, strict=False), port))
        except ValueError:
            if "/" in bare or ":" in bare:
                raise AllowRuleError(f"tunnel_edge.allow: {rule!r} has no valid address") from None
            self._names.append((bare.lower(), port))

    def allows_name(self, target: TCPAddress) -> bool:
        """Whether a rule names the host as it is written."""
        host = target.host.lower()
        return any(fnmatchcase(host, name) and port in (None, target.port) for name, port in self._names)

    def allows_address(self, target: TCPAddress) -> bool:
        """Whether a rule covers the IP literal."""
        address = plain_address(target.host)
        return any(address in network and port in (None, target.port) for network, port in self._networks)
