"""Group commit: changes of a short interval are written to the store in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.errors import StoreLost
from superedge.interfaces import Change, Entry, ICacheStore, IReactor
from superedge.liteapiserver import metrics

MAX_BATCH = 1000
"""Changes that are written before the interval ends."""
RETRY = 5.0
"""Seconds until a batch that the store refused is tried again."""

_log = Logger()


class Committer:
    """Writes changes to ``store``; for each key the latest change counts.

    While the store refuses changes they stay in memory and are retried. A store that could not be read is
    emptied before the first change is written, so that old and new records are not mixed.

    The committer keeps a hash of every key that the store may hold. A record that is created and deleted
    while the store refuses changes therefore leaves nothing in memory.
    """

    def __init__(self, reactor: IReactor, store: ICacheStore, interval: float) -> None:
        self._reactor = reactor
        self._store = store
        self._interval = interval
        self._pending: dict[tuple[str, tuple[str, ...]], bytes | None] = {}
        self._stored: set[int] = set()
        self._lock = DeferredLock()
        self._timer: IDelayedCall | None = None
        self._due_again = False
        self._closed = False
        self._must_clear = False
        self.on_lost: Callable[[], None] = lambda: None
        """Called when the store lost its records; adds everything again."""
        self.degraded = ""
        """Why the store refuses changes, empty while it takes them."""

    @property
    def pending(self) -> int:
        """Changes that are not durable yet."""
        return len(self._pending)

    def add(self, kind: str, key: tuple[str, ...], value: bytes | None) -> None:
        """Put or delete one record."""
        if value is None and hash((kind, key)) not in self._stored:
            self._pending.pop((kind, key), None)
            return
        self._pending[kind, key] = value
        if self._timer is None:
            self._schedule(self._interval)
        elif len(self._pending) == MAX_BATCH and not self.degraded:
            self._timer.reset(0)

    def loaded(self, entries: Iterable[Entry]) -> None:
        """Note what the store holds; to be called before the first change."""
        self._stored = {hash((entry.kind, entry.key)) for entry in entries}

    def load_failed(self, problem: Exception) -> None:
        """Note that the store could not be read, and may hold anything."""
        self._must_clear = True
        self._refused(problem)

    def _schedule(self, delay: float) -> None:
        if not self._closed:
            self._timer = self._reactor.callLater(delay, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._lock.locked:
            # The store is slow: what waits for it becomes one batch.
            self._due_again = True
            return
        Deferred.fromCoroutine(self.flush()).addErrback(self._unexpected)

    def _unexpected(self, failure: Failure) -> None:
        _log.failure("the store failed", failure)

    def check(self) -> None:
        """Check that the store still has its records; to be called every few seconds."""
        if not self._lock.locked:
            Deferred.fromCoroutine(self._check()).addErrback(self._unexpected)

    async def _check(self) -> None:
        await self._lock.acquire()
        try:
            await self._store.check()
        except StoreLost as problem:
            _log.critical("the cache store was lost and is written again: {problem}", problem=problem)
            self.degraded = str(problem)
            metrics.STORE_DEGRADED.set(1)
            self._stored.clear()
            self._must_clear = True  # records that are there now are older
            self.on_lost()
            if self._timer is not None:
                self._timer.cancel()
            self._schedule(0)
        except OSError:
            pass  # the next batch reports it
        finally:
            self._release()

    async def flush(self) -> bool:
        """Write what is pending; whether it is durable now."""
        await self._lock.acquire()
        try:
            batch, self._pending = self._pending, {}
            if not batch:
                return not self.degraded
            changes = [Change(kind, key, value) for (kind, key), value in batch.items()]
            # The store may hold them from now on, even if it reports a failure.
            self._stored.update(hash(key) for key, value in batch.items() if value is not None)
            started = self._reactor.seconds()
            try:
                if self._must_clear:
                    held = await self._store.load()
                    changes = [Change(entry.kind, entry.key, None) for entry in held] + changes
                await self._store.apply(changes)
                self._must_clear = False
            except Exception as problem:
                self._pending = batch | self._pending
                self._refused(problem)
                return False
            self._stored.difference_update(hash(key) for key, value in batch.items() if value is None)
            metrics.COMMIT_SECONDS.observe(self._reactor.seconds() - started)
            metrics.COMMITS.labels("done").inc()
            if self.degraded:
                self.degraded = ""
                metrics.STORE_DEGRADED.set(0)
                _log.info("the cache store takes changes again")
            return True
        finally:
            self._release()

    def _release(self) -> None:
        """Let others use the store; what became due meanwhile is written now."""
        self._lock.release()
        if self._due_again:
            self._due_again = False
            if self._pending and self._timer is None:
                self._schedule(0)

    def _refused(self, problem: Exception) -> None:
        metrics.COMMITS.labels("refused").inc()
        metrics.STORE_DEGRADED.set(1)
        if not self.degraded:
            _log.critical(
                "the cache store refuses changes, which are kept in memory only: {problem}", problem=problem
            )
        self.degraded = str(problem) or type(problem).__name__
        if self._timer is not None:
            self._timer.cancel()
        self._schedule(RETRY)

    async def close(self) -> None:
        """Write what is pending and close the store."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.flush()
        await self._store.close()
