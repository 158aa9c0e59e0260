"""Bandwidth limits by back-pressure: a source that exceeds its limit is paused until the bucket has filled.

Sources that share a limit are resumed in turn: each paused source goes to the end of one queue.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from superedge.net.bucket import TokenBucket


class BandwidthLimit:
    """A limit of ``rate`` bytes a second for all its producers together."""

    def __init__(self, reactor: IReactorTime, rate: int) -> None:
        self._reactor = reactor
        self._bucket = TokenBucket(rate, reactor.seconds())
        self._queue: deque[ThrottledProducer] = deque()
        self._timer: IDelayedCall | None = None

    def consume(self, count: int) -> bool:
        """Account for ``count`` bytes. Return whether more may pass now."""
        now = self._reactor.seconds()
        self._bucket.consume(count, now)
        return not self._queue and self._bucket.available(now) > 0

    def enqueue(self, producer: ThrottledProducer) -> None:
        """Resume the producer when the limit allows it, after the producers that wait already."""
        self._queue.append(producer)
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None and self._queue:
            self._timer = self._reactor.callLater(
                self._bucket.delay(self._reactor.seconds()), self._resume_waiting
            )

    def _resume_waiting(self) -> None:
        self._timer = None
        waiting = len(self._queue)
        while waiting and self._bucket.available(self._reactor.seconds()):
            waiting -= 1
            self._queue.popleft().resume()
        self._schedule()


@implementer(IPushProducer)
class ThrottledProducer:
    """A producer that wraps ``source`` and also pauses it while the limit is used up."""

    def __init__(self, limit: BandwidthLimit, source: Any) -> None:
        self._limit = limit
        self._source = source
        self._waiting = False
        self._paused_by_consumer = False

    def consumed(self, count: int) -> None:
        """Account for ``count`` bytes from the source, and pause it if they exceed the limit."""
        if not self._limit.consume(count) and not self._waiting:
            self._waiting = True
            self._source.pauseProducing()
            self._limit.enqueue(self)

    def resume(self) -> None:
        """The limit allows more."""
        self._waiting = False
        if not self._paused_by_consumer:
            self._source.resumeProducing()

    def pauseProducing(self) -> None:
        self._paused_by_consumer = True
        self._source.pauseProducing()

    def resumeProducing(self) -> None:
        self._paused_by_consumer = False
        if not self._waiting:
            self._source.resumeProducing()

    def stopProducing(self) -> None:
        self._source.stopProducing()
