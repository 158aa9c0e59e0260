"""Host names: suffixes, zones, and IP literals. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address


def strip_suffix(host: str, suffixes: Sequence[str]) -> list[str]:
    """The names that ``host`` may mean: the name itself, and the name without each suffix that it ends
    with."""
    host = host.lower().removesuffix(".")
    candidates = [host]
    for suffix in suffixes:
        tail = "." + suffix.lower().strip(".")
        if host.endswith(tail) and len(host) > len(tail):
            candidates.append(host[: -len(tail)])
    return candidates


def is_in_zone(name: str, zone: str) -> bool:
    """Whether a name is the zone's own or below it. The name is lower case and has no trailing dot."""
    zone = zone.lower().strip(".")
    return bool(zone) and (name == zone or name.endswith("." + zone))


def is_address(host: str) -> bool:
    """Whether ``host`` is an IP literal."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
