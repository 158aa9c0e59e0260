"""The store that forgets: for nodes that must not write to their disk, and for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zope.interface import implementer

from superedge.interfaces import Change, Entry, ICacheStore, Inspection, IReactor


@implementer(ICacheStore)
class MemoryStore:
    """Keeps nothing beyond the process, and so nothing twice: the cache itself holds every object."""

    async def load(self) -> Sequence[Entry]:
        """Nothing is ever there."""
        return []

    async def apply(self, changes: Sequence[Change]) -> None:
        """Nothing to do."""

    async def check(self) -> None:
        """Nothing can be lost."""

    async def close(self) -> None:
        """Nothing to do."""


def create(_reactor: IReactor, _path: str, _options: Mapping[str, Any]) -> MemoryStore:
    """For the plugin."""
    return MemoryStore()


def inspect(_path: str, _options: Mapping[str, Any]) -> Inspection:
    """For the plugin: another process sees nothing of it."""
    return Inspection([], [])
