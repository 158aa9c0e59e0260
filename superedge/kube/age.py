"""Formats an object's age as Kubernetes does. Pure.

Source: apimachinery pkg/util/duration, HumanDuration.
"""

from __future__ import annotations

from datetime import datetime

UNKNOWN = "<unknown>"
"""A Table's cell whose value is not known."""

INVALID = "<invalid>"
"""A Table's cell with an age below zero: the clocks differ."""

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400


def human_duration(seconds: int) -> str:
    """A duration such as ``5m10s``, ``3d4h``, ``2y30d``: shorter ones are more precise."""
    if seconds < -1:
        return INVALID
    if seconds < 2 * _MINUTE:
        return f"{max(seconds, 0)}s"
    for unit, name, finer, finer_name, fine_until, until in (
        (_MINUTE, "m", 1, "s", 10 * _MINUTE, 3 * _HOUR),
        (_HOUR, "h", _MINUTE, "m", 8 * _HOUR, 2 * _DAY),
        (_DAY, "d", _HOUR, "h", 8 * _DAY, 2 * _YEAR),
    ):
        if seconds < until:
            rest = seconds % unit // finer if seconds < fine_until else 0
            return f"{seconds // unit}{name}" + (f"{rest}{finer_name}" if rest else "")
    rest = seconds % _YEAR // _DAY if seconds < 8 * _YEAR else 0
    return f"{seconds // _YEAR}y" + (f"{rest}d" if rest else "")


def age(created: str | None, now: float) -> str:
    """The duration from an RFC 3339 timestamp to Unix time ``now``; UNKNOWN when it is not a timestamp."""
    try:
        return human_duration(int(now - datetime.fromisoformat(created or "").timestamp()))
    except (ValueError, OverflowError):
        return UNKNOWN
