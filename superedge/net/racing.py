"""The first of several attempts that succeeds: Happy Eyeballs, RFC 8305 section 5."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

ATTEMPT_DELAY = 0.25
"""Seconds that an address has to answer before the next is tried beside it."""

T = TypeVar("T")
Attempt = Callable[[], "Deferred[T]"]
"""Begins an attempt, whose Deferred can be cancelled."""


class _Race(Generic[T]):
    def __init__(self, reactor: IReactorTime, attempts: Sequence[Attempt[T]], delay: float) -> None:
        self._reactor = reactor
        self._delay = delay
        self._waiting = deque(attempts)
        self._running: list[Deferred[T]] = []
        self._timer: IDelayedCall | None = None
        self.done: Deferred[T] = Deferred(lambda _: self._stop())

    def next(self) -> None:
        """Begin one more attempt."""
        self._stop_timer()
        attempt = self._waiting.popleft()()
        self._running.append(attempt)
        if self._waiting:
            self._timer = self._reactor.callLater(self._delay, self._late)
        attempt.addCallbacks(self._won, self._lost, callbackArgs=(attempt,), errbackArgs=(attempt,))

    def _late(self) -> None:
        self._timer = None
        self.next()

    def _won(self, result: T, attempt: Deferred[T]) -> None:
        self._running.remove(attempt)
        self._stop()
        self.done.callback(result)

    def _lost(self, failure: Failure, attempt: Deferred[T]) -> None:
        if failure.check(CancelledError):
            return
        self._running.remove(attempt)
        if self._waiting:
            self.next()
        elif not self._running:
            self.done.errback(failure)

    def _stop(self) -> None:
        self._stop_timer()
        self._waiting.clear()
        running, self._running = self._running, []
        for attempt in running:
            attempt.cancel()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def first_of(reactor: IReactorTime, attempts: Sequence[Attempt[T]], delay: float) -> Deferred[T]:
    """What the first of ``attempts`` (at least one) to succeed brings; the others are cancelled. Cancellable.

    Each begins when the one before has failed, or beside it when that takes longer than ``delay`` seconds.
    When none succeeds, it fails as the last one did.
    """
    race = _Race(reactor, attempts, delay)
    race.next()
    return race.done
