"""A blocking store in the reactor's threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from superedge.errors import SuperEdgeError
from superedge.interfaces import Change, Entry, ICacheStore, IReactor

R = TypeVar("R")


class StoreInUse(SuperEdgeError):
    """Another process has the directory."""


class BlockingStore(Protocol):
    """What `ICacheStore` says, in a thread."""

    def load(self) -> list[Entry]:
        """Read every sound record. Raises OSError, StoreInUse."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Make one batch durable. Raises OSError."""

    def close(self) -> None:
        """Release what is held."""


@implementer(ICacheStore)
class ThreadedStore:
    """The caller awaits one call before the next."""

    def __init__(self, reactor: IReactor, store: BlockingStore) -> None:
        self._reactor = reactor
        self._store = store

    async def _call(self, function: Callable[..., R], *arguments: object) -> R:
        pool = self._reactor.getThreadPool()
        return cast(R, await deferToThreadPool(cast(Any, self._reactor), pool, function, *arguments))

    async def load(self) -> Sequence[Entry]:
        """Read every sound record."""
        return await self._call(self._store.load)

    async def apply(self, changes: Sequence[Change]) -> None:
        """Make one batch durable."""
        await self._call(self._store.apply, changes)

    async def close(self) -> None:
        """Release what is held."""
        await self._call(self._store.close)
