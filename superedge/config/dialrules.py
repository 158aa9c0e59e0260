"""Parses dial rules of an edge: ``host:port``, ``network/bits:port``, ``glob:port``; port ``*`` is any."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

_NUMERIC = re.compile(r"[\d.]+")
_FORMS = "use host:port or network/bits:port, with * for any port"


class DialRule(NamedTuple):
    """``host`` is a network, or a lower-case name with optional wildcards. ``port`` is None for any port."""

    host: IPv4Network | IPv6Network | str
    port: int | None


def parse_dial_rule(text: str) -> DialRule:
    """Parse a rule. Raises ValueError with one sentence."""
    host, colon, port_text = text.rpartition(":")
    port = None if port_text == "*" else int(port_text) if port_text.isascii() and port_text.isdigit() else 0
    if not colon or not host or port == 0 or (port is not None and port > 65535):
        raise ValueError(f"{text!r} is not a rule: {_FORMS}")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        return DialRule(ip_network(bare), port)
    except ValueError as problem:
        if "has host bits set" in str(problem):
            network = ip_network(bare, strict=False)
            raise ValueError(f"{text!r} has bits set beyond its prefix: did you mean {network}?") from None
        if "/" in bare or ":" in bare or _NUMERIC.fullmatch(bare):
            raise ValueError(f"{text!r} has no valid address or network: {_FORMS}") from None
    return DialRule(bare.lower(), port)
