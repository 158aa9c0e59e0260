"""The memory store: for nodes that must not write to their disk, and for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zope.interface import implementer

from superedge.interfaces import Change, Entry, ICacheStore, Inspection, IReactor


@implementer(ICacheStore)
class MemoryStore:
    """Stores nothing: the cache itself has every object in memory."""

    async def load(self) -> Sequence[Entry]:
        """Always empty."""
        return []

    async def apply(self, changes: Sequence[Change]) -> None:
        """Do nothing."""

    async def check(self) -> None:
        """Never lost."""

    async def close(self) -> None:
        """Do nothing."""


def create(_reactor: IReactor, _path: str, _options: Mapping[str, Any]) -> MemoryStore:
    """Implements `ICacheStorePlugin.create`."""
    return MemoryStore()


def inspect(_path: str, _options: Mapping[str, Any]) -> Inspection:
    """Implements `ICacheStorePlugin.inspect`: another process sees nothing of the store."""
    return Inspection([], [])
