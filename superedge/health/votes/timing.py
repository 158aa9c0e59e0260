"""How often things are said, and how long that counts. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Timing(NamedTuple):
    """Seconds. A ballot lives several times as long as it takes the next to come."""

    period: float = 5.0
    renew: float = 10.0
    life: float = 35.0

    @property
    def stale(self) -> float:
        """Age of a check that says nothing any more."""
        return 4 * self.period
