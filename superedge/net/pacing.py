"""Bandwidth limits by back-pressure: who brings too much is not read until it is paid for.

Those who share a limit take turns: each that has to wait goes to the end of one queue.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from superedge.net.bucket import TokenBucket


class Pace:
    """One limit, ``rate`` bytes a second, for all its gates together."""

    def __init__(self, reactor: IReactorTime, rate: int) -> None:
        self._reactor = reactor
        self._bucket = TokenBucket(rate, reactor.seconds())
        self._queue: deque[Gate] = deque()
        self._timer: IDelayedCall | None = None

    def spend(self, count: int) -> bool:
        """Note what passed; whether more may pass now."""
        now = self._reactor.seconds()
        self._bucket.spend(count, now)
        return not self._queue and self._bucket.room(now) > 0

    def enqueue(self, gate: Gate) -> None:
        """Open the gate when it is its turn."""
        self._queue.append(gate)
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None and self._queue:
            self._timer = self._reactor.callLater(self._bucket.wait(self._reactor.seconds()), self._turn)

    def _turn(self) -> None:
        self._timer = None
        waiting = len(self._queue)
        while waiting and self._bucket.room(self._reactor.seconds()):
            waiting -= 1
            self._queue.popleft().open()
        self._schedule()


@implementer(IPushProducer)
class Gate:
    """The producer in ``source``'s place: also paused while the pace is used up."""

    def __init__(self, pace: Pace, source: Any) -> None:
        self._pace = pace
        self._source = source
        self._waiting = False
        self._held = False

    def passed(self, count: int) -> None:
        """Note what the source brought, and pause it if that was too much."""
        if not self._pace.spend(count) and not self._waiting:
            self._waiting = True
            self._source.pauseProducing()
            self._pace.enqueue(self)

    def open(self) -> None:
        """It is this one's turn."""
        self._waiting = False
        if not self._held:
            self._source.resumeProducing()

    def pauseProducing(self) -> None:
        """The consumer has enough."""
        self._held = True
        self._source.pauseProducing()

    def resumeProducing(self) -> None:
        """The consumer takes more."""
        self._held = False
        if not self._waiting:
            self._source.resumeProducing()

    def stopProducing(self) -> None:
        """The consumer is gone."""
        self._source.stopProducing()
