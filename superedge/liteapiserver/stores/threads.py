"""Runs a blocking store in the reactor's thread pool, and reads stores that cannot be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from superedge.interfaces import Change, Entry, ICacheStore, Inspection, IReactor

R = TypeVar("R")

_log = Logger()


def load_read_only(
    inspect: Callable[[str, Mapping[str, Any]], Inspection], root: Path, problem: OSError
) -> list[Entry]:
    """The entries of a directory that ``problem`` keeps from being opened. Raises it if none can be read."""
    try:
        inspection = inspect(str(root), {})
    except OSError:
        raise problem from None
    _log.error(
        "the cache can be read but not written: {problem}{faults}",
        problem=problem,
        faults="".join(f"; {fault}" for fault in inspection.faults[:10]),
    )
    return list(inspection.entries)


class BlockingStore(Protocol):
    """`ICacheStore` with blocking methods, which are called in a thread."""

    def load(self) -> list[Entry]:
        """Read every intact record. Raises OSError, SuperEdgeError."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Make one batch durable. Raises OSError."""

    def check(self) -> None:
        """Check that the files still exist. Raises OSError, StoreLost."""

    def close(self) -> None:
        """Release the files."""


@implementer(ICacheStore)
class ThreadedStore:
    """The `ICacheStore` around a blocking store. Callers await each call before the next."""

    def __init__(self, reactor: IReactor, store: BlockingStore) -> None:
        self._reactor = reactor
        self._store = store

    async def _call(self, function: Callable[..., R], *arguments: object) -> R:
        pool = self._reactor.getThreadPool()
        return cast(R, await deferToThreadPool(cast(Any, self._reactor), pool, function, *arguments))

    async def load(self) -> Sequence[Entry]:
        """Read every intact record."""
        return await self._call(self._store.load)

    async def apply(self, changes: Sequence[Change]) -> None:
        """Make one batch durable."""
        await self._call(self._store.apply, changes)

    async def check(self) -> None:
        """Check that the files still exist."""
        await self._call(self._store.check)

    async def close(self) -> None:
        """Release the files."""
        await self._call(self._store.close)
