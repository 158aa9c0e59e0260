"""A queue of keys to be reconciled, as client-go's: each key once, its failures at growing distances."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from random import Random
from typing import Any, Generic, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from superedge.kube.client import Problems
from superedge.reactor.backoff import Backoff
from superedge.reactor.task import in_background

SLICE = 0.01
"""Seconds after which keys that need no waiting make room for the reactor's other work."""

_log = Logger()

K = TypeVar("K", bound=Hashable)


class WorkQueue(Service, Generic[K]):
    """Calls ``reconcile`` with each key that was added, for one key never twice at the same time.

    A key that is added while it is under way comes again afterwards. After an exception it is tried again
    after a delay of the key's own, which doubles up to ``maximum``.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        reconcile: Callable[[K], Coroutine[Deferred[Any], Any, None]],
        workers: int = 8,
        initial: float = 0.5,
        maximum: float = 60.0,
        random: Random | None = None,
    ) -> None:
        """``workers``: keys that are reconciled at once."""
        self._reactor = reactor
        self._reconcile = reconcile
        self._workers = workers
        self._limits = initial, maximum
        self._random = random or Random()
        self._ready: dict[K, None] = {}
        self._later: dict[K, IDelayedCall] = {}
        self._under_way: dict[K, Deferred[None]] = {}
        self._again: set[K] = set()
        self._backoffs: dict[K, Backoff] = {}
        self._working = False
        self._resuming: IDelayedCall | None = None

    def __len__(self) -> int:
        """Keys that wait or are under way."""
        return len(self._ready) + len(self._later) + len(self._under_way)

    def add(self, key: K) -> None:
        """Reconcile it as soon as there is a worker."""
        if (later := self._later.pop(key, None)) is not None:
            later.cancel()
        if key in self._under_way:
            self._again.add(key)
        else:
            self._ready.setdefault(key)
            self._work()

    def add_after(self, key: K, seconds: float) -> None:
        """Reconcile it then, unless it is to be reconciled earlier."""
        if key in self._ready or key in self._again:
            return
        due = self._reactor.seconds() + seconds
        before = self._later.get(key)
        if before is not None:
            if before.getTime() <= due:
                return
            before.cancel()
        self._later[key] = self._reactor.callLater(seconds, self._due, key)

    def _due(self, key: K) -> None:
        del self._later[key]
        self.add(key)

    def startService(self) -> None:
        """Begin with what was added."""
        super().startService()
        self._work()

    def stopService(self) -> None:
        """Drop everything; what is under way is cancelled."""
        super().stopService()
        for later in self._later.values():
            later.cancel()
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        for parts in (self._ready, self._later, self._again, self._backoffs):
            parts.clear()
        for done in list(self._under_way.values()):
            done.cancel()

    def _work(self) -> None:
        if self._working:  # called by a key that ended at once: the loop below goes on
            return
        self._working = True
        try:
            end = self._reactor.seconds() + SLICE
            while self.running and self._ready and len(self._under_way) < self._workers:
                self._next()
                if self._reactor.seconds() >= end:
                    if self._resuming is None:
                        self._resuming = self._reactor.callLater(0, self._resume)
                    break
        finally:
            self._working = False

    def _resume(self) -> None:
        self._resuming = None
        self._work()

    def _next(self) -> None:
        key = next(iter(self._ready))
        del self._ready[key]
        done: Deferred[None] = Deferred()
        self._under_way[key] = done
        running = in_background(self._one(key), _log, "reconciling {key} failed", key=str(key))
        if self._under_way.get(key) is done:
            self._under_way[key] = running
        running.addCallback(self._ended, key)

    async def _one(self, key: K) -> None:
        try:
            await self._reconcile(key)
        except CancelledError:
            raise
        except Exception as problem:
            if not self.running:
                return
            backoff = self._backoffs.get(key)
            if backoff is None:
                initial, maximum = self._limits
                backoff = self._backoffs[key] = Backoff(initial, maximum, random=self._random)
            delay = backoff.failed(self._reactor.seconds())
            if isinstance(problem, Problems):
                _log.warn(
                    "{key} is tried again in {delay:.1f} s: {problem}",
                    key=str(key),
                    delay=delay,
                    problem=problem,
                )
            else:
                _log.failure(
                    "reconciling {key} failed; it is tried again in {delay:.1f} s", key=str(key), delay=delay
                )
            self.add_after(key, delay)
        else:
            self._backoffs.pop(key, None)

    def _ended(self, _: None, key: K) -> None:
        self._under_way.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        self._work()
