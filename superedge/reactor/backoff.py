"""Delays between attempts: exponential with jitter, and reset after a connection that lasted."""

from __future__ import annotations

from math import inf
from random import Random


class Backoff:
    """The delay before the next attempt.

    Args:
        initial: first delay, seconds.
        maximum: longest delay, seconds.
        stable: a connection that lasted this many seconds resets the delay.
        random: source of jitter; each delay is between half and the whole of its nominal length.
        initial_attempts: number of delays of the first length, before delays double.
    """

    def __init__(
        self,
        initial: float = 1.0,
        maximum: float = 60.0,
        stable: float = 60.0,
        random: Random | None = None,
        initial_attempts: int = 1,
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._stable = stable
        self._random = random or Random()
        self._initial_attempts = initial_attempts
        self._next = initial
        self._failures = 0
        self._connected_at: float | None = None

    def connected(self, now: float) -> None:
        """Record that an attempt succeeded."""
        self._connected_at = now

    def reset(self) -> None:
        """Begin with the first delay again."""
        self._next = self._initial
        self._failures = 0
        self._connected_at = None

    def failed(self, now: float, at_most: float = inf) -> float:
        """Record that the attempt or the connection failed. Return the delay before the next, in seconds.

        This delay is at most ``at_most``, and the following delays grow from it.
        """
        if self._connected_at is not None and now - self._connected_at >= self._stable:
            self.reset()
        self._connected_at = None
        self._failures += 1
        ceiling = min(self._next, max(at_most, self._initial))
        self._next = ceiling if self._failures < self._initial_attempts else min(ceiling * 2, self._maximum)
        return ceiling * (0.5 + 0.5 * self._random.random())
