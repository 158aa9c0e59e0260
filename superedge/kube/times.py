"""Times as Kubernetes writes them: RFC 3339 in UTC, whole seconds (Time) or microseconds (MicroTime)."""

from __future__ import annotations

from datetime import UTC, datetime


def kube_time(seconds: float) -> str:
    """Seconds since 1970 as a ``metav1.Time``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_time(seconds: float) -> str:
    """Seconds since 1970 as a ``metav1.MicroTime``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_time(text: str) -> float | None:
    """Seconds since 1970, of either form; None for what is no time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None
