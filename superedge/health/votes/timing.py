"""Periods and lifetimes. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Timing(NamedTuple):
    """Seconds: between checks, between ballots, and until a ballot expires."""

    period: float = 5.0
    renew: float = 10.0
    life: float = 35.0

    @property
    def stale(self) -> float:
        """Age from which a check is ignored."""
        return 4 * self.period
