"""A table of limited size whose entries expire and belong to owners. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

NEVER = float("inf")
UNIX_EPOCH = 0.0
"""A time at which nothing has expired, for loading: after a boot the clock may be wrong."""


class _Entry(Generic[V]):
    __slots__ = ("end", "owner", "size", "value")

    def __init__(self, owner: str, value: V, end: float, size: int) -> None:
        self.owner = owner
        self.value = value
        self.end = end
        self.size = size


class ExpiringTable(Generic[K, V]):
    """Over ``limit``, the largest owner loses its least recently used entry.

    Therefore no owner can evict the entries of owners that hold less.
    """

    def __init__(self, limit: int, on_evicted: Callable[[K], None]) -> None:
        """``limit`` bounds the sum of all sizes; ``on_evicted`` gets the key of each evicted entry."""
        self._limit = limit
        self._on_evicted = on_evicted
        self._entries: dict[K, _Entry[V]] = {}
        self._owned: dict[str, dict[K, None]] = {}
        """The keys of each owner, the least recently used first."""
        self._sizes: dict[str, int] = {}
        self._size = 0
        # No entry ends before this.
        self._earliest = NEVER

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, expired or not."""
        found = self._entries.get(key)
        return None if found is None else found.value

    def items(self) -> Iterator[tuple[K, V]]:
        """Every key and value."""
        for key, entry in self._entries.items():
            yield key, entry.value

    def put(self, owner: str, key: K, value: V, end: float, now: float, size: int = 1) -> None:
        """Add or replace an entry that expires at ``end``; evict expired ones, and others over the limit."""
        if self._earliest <= now:
            for expired in [each for each, entry in self._entries.items() if entry.end <= now]:
                self._evict(expired)
            self._earliest = min((entry.end for entry in self._entries.values()), default=NEVER)
        if key in self._entries:
            self.remove(key)
        self._entries[key] = _Entry(owner, value, end, size)
        self._owned.setdefault(owner, {})[key] = None
        self._sizes[owner] = self._sizes.get(owner, 0) + size
        self._size += size
        self._earliest = min(self._earliest, end)
        while self._size > self._limit:
            largest = max(self._sizes, key=lambda each: (self._sizes[each], each == owner))
            self._evict(next(iter(self._owned[largest])))

    def touch(self, key: K) -> None:
        """Mark an entry as the most recently used of its owner."""
        owned = self._owned[self._entries[key].owner]
        if len(owned) > 1:
            owned[key] = owned.pop(key)

    def remove(self, key: K) -> None:
        """Remove an entry without calling ``on_evicted``."""
        entry = self._entries.pop(key)
        owned = self._owned[entry.owner]
        del owned[key]
        self._size -= entry.size
        self._sizes[entry.owner] -= entry.size
        if not owned:
            del self._owned[entry.owner], self._sizes[entry.owner]

    def _evict(self, key: K) -> None:
        self.remove(key)
        self._on_evicted(key)
