"""Delays between attempts: exponential, jittered, forgiving after a stable time."""

from __future__ import annotations

from math import inf
from random import Random


class Backoff:
    """How long to wait before the next attempt.

    Args:
        initial: first delay, seconds.
        maximum: no delay is longer, seconds.
        stable: a connection that lasted this many seconds resets the delay.
        random: source of jitter; each delay is drawn from the upper half of its range.
        patience: that many delays are of the first length, before they grow.
    """

    def __init__(
        self,
        initial: float = 1.0,
        maximum: float = 60.0,
        stable: float = 60.0,
        random: Random | None = None,
        patience: int = 1,
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._stable = stable
        self._random = random or Random()
        self._patience = patience
        self._next = initial
        self._failures = 0
        self._connected_at: float | None = None

    def connected(self, now: float) -> None:
        """Note that an attempt succeeded."""
        self._connected_at = now

    def reset(self) -> None:
        """Begin with the first delay again."""
        self._next = self._initial
        self._failures = 0
        self._connected_at = None

    def failed(self, now: float, at_most: float = inf) -> float:
        """Note that the attempt or the connection failed; the delay before the next, seconds.

        This delay is no longer than ``at_most``, and those after it grow from there.
        """
        if self._connected_at is not None and now - self._connected_at >= self._stable:
            self.reset()
        self._connected_at = None
        self._failures += 1
        ceiling = min(self._next, max(at_most, self._initial))
        self._next = ceiling if self._failures < self._patience else min(ceiling * 2, self._maximum)
        return ceiling * (0.5 + 0.5 * self._random.random())
