"""The first of several addresses that answers: Happy Eyeballs, RFC 8305 section 5."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from superedge.config.addresses import Address
from superedge.interfaces import IReactor
from superedge.net.connecting import connect

ATTEMPT_DELAY = 0.25
"""Seconds that an address has to answer before the next is tried beside it."""


class _Race:
    def __init__(self, reactor: IReactor, addresses: Sequence[Address]) -> None:
        self._reactor = reactor
        self._waiting = deque(addresses)
        self._running: list[Deferred[socket.socket]] = []
        self._timer: IDelayedCall | None = None
        self.done: Deferred[socket.socket] = Deferred(lambda _: self._stop())

    def next(self) -> None:
        """Begin with one more address."""
        self._stop_timer()
        attempt = connect(self._reactor, self._waiting.popleft())
        self._running.append(attempt)
        if self._waiting:
            self._timer = self._reactor.callLater(ATTEMPT_DELAY, self._late)
        attempt.addCallbacks(self._won, self._lost, callbackArgs=(attempt,), errbackArgs=(attempt,))

    def _late(self) -> None:
        self._timer = None
        self.next()

    def _won(self, sock: socket.socket, attempt: Deferred[socket.socket]) -> None:
        self._running.remove(attempt)
        self._stop()
        self.done.callback(sock)

    def _lost(self, failure: Failure, attempt: Deferred[socket.socket]) -> None:
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


def connect_to_first(reactor: IReactor, addresses: Sequence[Address]) -> Deferred[socket.socket]:
    """A socket connected to the first of ``addresses`` (at least one) that answers; cancellable.

    When none does, it fails as the last one did.
    """
    race = _Race(reactor, addresses)
    race.next()
    return race.done
