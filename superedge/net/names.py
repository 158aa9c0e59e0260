"""Host names as callers write them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address


def strip_suffix(host: str, suffixes: Sequence[str]) -> list[str]:
    """The names that ``host`` may mean: itself, and itself less each suffix that it ends with."""
    host = host.lower().removesuffix(".")
    candidates = [host]
    for suffix in suffixes:
        tail = "." + suffix.lower().strip(".")
        if host.endswith(tail) and len(host) > len(tail):
            candidates.append(host[: -len(tail)])
    return candidates


def under(name: str, zone: str) -> bool:
    """Whether a name, lower case and without a dot at its end, is the zone's or below it."""
    zone = zone.lower().strip(".")
    return bool(zone) and (name == zone or name.endswith("." + zone))


def is_address(host: str) -> bool:
    """Whether it is an IP literal and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
