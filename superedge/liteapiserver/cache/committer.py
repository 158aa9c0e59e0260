"""Group commit: changes are gathered for a moment, then written to the store in one batch."""

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
"""Changes that are not held back any longer, whatever the interval."""
RETRY = 5.0
"""Seconds before a store that refused a batch is tried again."""

_log = Logger()


class Committer:
    """Writes changes to ``store``; the latest change of a key counts.

    While the store refuses them they stay in memory, and are tried again. A store that could not be read is
    emptied of what it held before the first change is written: it must not join what came since.

    It knows by their hashes which records the store may hold, so that what comes and goes while the store
    refuses, however much, leaves nothing behind.
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
        """Adds everything that is to be durable once more; called when the store lost what it had."""
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
        """What the store holds; to be told before the first change."""
        self._stored = {hash((entry.kind, entry.key)) for entry in entries}

    def load_failed(self, problem: Exception) -> None:
        """The store could not be read, so that nobody knows what it holds."""
        self._must_clear = True
        self._refused(problem)

    def _schedule(self, delay: float) -> None:
        if not self._closed:
            self._timer = self._reactor.callLater(delay, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._lock.locked:
            # The store is slow: what waits for it is one batch, however long that takes.
            self._due_again = True
            return
        Deferred.fromCoroutine(self.flush()).addErrback(self._unexpected)

    def _unexpected(self, failure: Failure) -> None:
        _log.failure("the store failed", failure)

    def check(self) -> None:
        """See whether the store still has what it took; call it every few seconds."""
        if not self._lock.locked:
            Deferred.fromCoroutine(self._check()).addErrback(self._unexpected)

    async def _check(self) -> None:
        await self._lock.acquire()
        try:
            await self._store.check()
        except StoreLost as problem:
            _log.critical("the cache is written anew: {problem}", problem=problem)
            self.degraded = str(problem)
            metrics.STORE_DEGRADED.set(1)
            self._stored.clear()
            self._must_clear = True  # what is there now, if anything, is older
            self.on_lost()
            if self._timer is not None:
                self._timer.cancel()
            self._schedule(0)
        except OSError:
            pass  # the next batch tells
        finally:
            self._lock.release()

    async def flush(self) -> bool:
        """Write what is pending; whether it is durable now."""
        await self._lock.acquire()
        try:
            batch, self._pending = self._pending, {}
            if not batch:
                return not self.degraded
            changes = [Change(kind, key, value) for (kind, key), value in batch.items()]
            # From now on they may be there, whatever comes of it.
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
                "the cache store refuses changes, which now live in memory alone: {problem}", problem=problem
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
