"""Concurrent connection attempts, of which the first to succeed wins: Happy Eyeballs, RFC 8305 section 5."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

ATTEMPT_DELAY = 0.25
"""Seconds after which the next address is tried concurrently."""

T = TypeVar("T")
Attempt = Callable[[], "Deferred[T]"]
"""Starts an attempt. Its Deferred can be cancelled."""


class _Race(Generic[T]):
    def __init__(self, reactor: IReactorTime, attempts: Sequence[Attempt[T]], delay: float) -> None:
        self._reactor = reactor
        self._delay = delay
        self._waiting = deque(attempts)
        self._running: list[Deferred[T]] = []
        self._timer: IDelayedCall | None = None
        self.done: Deferred[T] = Deferred(lambda _: self._stop())

    def next(self) -> None:
        """Start the next attempt."""
        self._stop_timer()
        attempt = self._waiting.popleft()()
        self._running.append(attempt)
        if self._waiting:
            self._timer = self._reactor.callLater(self._delay, self._next_attempt_due)
        attempt.addCallbacks(self._won, self._lost, callbackArgs=(attempt,), errbackArgs=(attempt,))

    def _next_attempt_due(self) -> None:
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
    """The result of the first of ``attempts`` (at least one) to succeed; the others are cancelled.
    Cancellable.

    An attempt starts when the one before has failed or has taken ``delay`` seconds. When all fail, the result
    is the last failure.
    """
    race = _Race(reactor, attempts, delay)
    race.next()
    return race.done
