"""A table of limited length whose entries end at a time. Pure."""

from __future__ import annotations

from collections.abc import Callable, ItemsView
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

NEVER = float("inf")
BOOT = 0.0
"""A time at which nothing has expired: after a reboot the clock may be wrong for a while."""


class Expiring(Generic[K, V]):
    """Beyond ``limit`` what was put or used least lately gives way; ``gone`` is told what went by itself."""

    def __init__(self, limit: int, gone: Callable[[K], None]) -> None:
        self._limit = limit
        self._gone = gone
        self._entries: dict[K, V] = {}
        self._ends: dict[K, float] = {}
        # No entry ends before this.
        self._earliest = NEVER

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The entry, expired or not."""
        return self._entries.get(key)

    def items(self) -> ItemsView[K, V]:
        """All of them."""
        return self._entries.items()

    def put(self, key: K, value: V, end: float, now: float) -> None:
        """Add or replace an entry that counts until ``end``; make room by what has expired, or is old."""
        if self._earliest <= now:
            for expired in [each for each, until in self._ends.items() if until <= now]:
                self._drop(expired)
            self._earliest = min(self._ends.values(), default=NEVER)
        self._entries.pop(key, None)
        while len(self._entries) >= self._limit:
            self._drop(next(iter(self._entries)))
        self._entries[key] = value
        self._ends[key] = end
        self._earliest = min(self._earliest, end)

    def use(self, key: K) -> None:
        """The entry is the last to give way."""
        self._entries[key] = self._entries.pop(key)

    def remove(self, key: K) -> None:
        """Take an entry out; nobody is told."""
        del self._entries[key], self._ends[key]

    def _drop(self, key: K) -> None:
        self.remove(key)
        self._gone(key)
