"""Joins two connected transports: each sends what the other receives.

A FIN passes as a FIN, after every byte before it, and a reset as a reset. A full send buffer on one side
pauses reading on the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.net.throttling import BandwidthLimit, ThrottledProducer


@implementer(IProtocol, IHalfCloseableProtocol)
class SpliceEnd:
    """The protocol of one of the two transports."""

    def __init__(self, splice: Splice) -> None:
        self.splice = splice
        self.transport: Any = None
        self.other: SpliceEnd
        self.finished_reading = False
        self.lost = False

    def makeConnection(self, transport: Any) -> None:
        """Take the transport. Data flows once both ends have one."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Begin if the other end has its transport too."""
        if self.other.transport is None:
            self.transport.pauseProducing()
        else:
            self.splice.begin()

    def dataReceived(self, data: bytes) -> None:
        """Write to the other transport. Each end replaces this method by that transport's ``write``."""
        self.other.transport.write(data)

    def readConnectionLost(self) -> None:
        """The peer has sent FIN: send FIN to the other peer."""
        self.finished_reading = True
        other = self.other
        if other.lost:
            self.transport.loseConnection()
            return
        other.transport.unregisterProducer()
        if other.finished_reading:
            other.transport.loseConnection()
            self.transport.loseConnection()
        else:
            other.transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        """This side's FIN is sent; reading goes on."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """This side's connection is lost: close or reset the other in the same way."""
        self.lost = True
        other = self.other
        if other.transport is not None and not other.lost:
            other.transport.unregisterProducer()
            if isinstance(reason.value, ConnectionDone):
                other.transport.loseConnection()
            else:
                self._break(other)
        else:
            self.splice.finish()

    def _break(self, other: SpliceEnd) -> None:
        """Reset the other side.

        The left side first gets everything that the right side sent before it broke.
        """
        end = other.transport.abortConnection
        if other is self.splice.left:
            end = getattr(other.transport, "abort_after_writes", end)  # a plugin's transport may not have it
        end()


class Splice:
    """Connect the caller's transport to ``left`` and the target's to ``right``; ``done`` fires at the end.

    ``limits`` limit what left and right receive; None for no limit. ``producer`` is left's, when what it has
    received so far went through one.
    """

    def __init__(
        self,
        limits: tuple[BandwidthLimit | None, BandwidthLimit | None] = (None, None),
        producer: ThrottledProducer | None = None,
    ) -> None:
        self._limits = limits
        self._throttled = producer
        self.left = SpliceEnd(self)
        self.right = SpliceEnd(self)
        self.left.other, self.right.other = self.right, self.left
        self._finished = False
        self._done: Deferred[None] | None = None

    @property
    def done(self) -> Deferred[None]:
        """Fires when both connections are lost."""
        if self._done is None:
            self._done = succeed(None) if self._finished else Deferred()
        return self._done

    def finish(self) -> None:
        """Both connections are lost, or the only one that there was."""
        if self.left.lost and self.right.lost:
            for end in (self.left, self.right):
                # Break the reference cycles, which would wait for the garbage collector.
                del end.other, end.splice
        if not self._finished:
            self._finished = True
            if self._done is not None:
                self._done.callback(None)

    def begin(self) -> None:
        """Start the flow in both directions."""
        left, right = self.left, self.right
        producers = (
            _join(left, right.transport, self._limits[0], self._throttled),
            _join(right, left.transport, self._limits[1]),
        )
        for producer in producers:
            producer.resumeProducing()

    def abort(self) -> None:
        """Reset both connections."""
        for end in (self.left, self.right):
            if end.transport is not None and not end.lost:
                end.transport.abortConnection()


def _join(
    end: SpliceEnd, to: Any, limit: BandwidthLimit | None, producer: ThrottledProducer | None = None
) -> Any:
    """Send what ``end`` receives on the transport ``to``. Return the producer to resume."""
    if limit is None:
        end.dataReceived = to.write  # type: ignore[method-assign]
        to.registerProducer(end.transport, True)
        return end.transport
    producer = producer or ThrottledProducer(limit, end.transport)
    end.dataReceived = _through(producer, to.write)  # type: ignore[method-assign, assignment]
    to.registerProducer(producer, True)
    return producer


def _through(producer: ThrottledProducer, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def pass_on(data: bytes) -> None:
        write(data)
        producer.consumed(len(data))

    return pass_on


def splice(
    left: Any, right: Any, limits: tuple[BandwidthLimit | None, BandwidthLimit | None] = (None, None)
) -> Deferred[None]:
    """Splice two transports by assigning their ``protocol``; fires when both connections are lost."""
    pair = Splice(limits)
    for transport, end in ((left, pair.left), (right, pair.right)):
        transport.protocol = end
        end.makeConnection(transport)
    return pair.done
