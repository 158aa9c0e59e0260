"""Joins two connected transports: what one receives the other sends, ends included.

A FIN passes as a FIN after every byte before it, a reset as a reset, and a full send buffer on one
side pauses reading on the other.
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

from superedge.net.pacing import Gate, Pace


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
        """Take the transport; data flows once both ends have theirs."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Begin when the other end is there too."""
        if self.other.transport is None:
            self.transport.pauseProducing()
        else:
            self.splice.begin()

    def dataReceived(self, data: bytes) -> None:
        """Replaced by the other transport's ``write`` as soon as there is one."""
        self.other.transport.write(data)

    def readConnectionLost(self) -> None:
        """The peer sends no more: tell the other side's peer."""
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
        """Our FIN is sent; reading goes on."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """This side is gone: end the other in the same manner."""
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
        """What right said before it broke still reaches left; a left that is gone wants nothing any more."""
        end = other.transport.abortConnection
        if other is self.splice.left:
            end = getattr(other.transport, "abort_after_writes", end)  # a plugin's transport may not have it
        end()


class Splice:
    """Make one, connect a transport to ``left`` and another to ``right``; ``done`` fires at the end.

    Left is who asks, right who answers.

    ``paces`` limit what left and right receive; None for no limit. ``gate`` is left's, when what it has
    received so far went through one.
    """

    def __init__(
        self, paces: tuple[Pace | None, Pace | None] = (None, None), gate: Gate | None = None
    ) -> None:
        self._paces = paces
        self._gate = gate
        self.left = SpliceEnd(self)
        self.right = SpliceEnd(self)
        self.left.other, self.right.other = self.right, self.left
        self._finished = False
        self._done: Deferred[None] | None = None

    @property
    def done(self) -> Deferred[None]:
        """Fires when both sides are gone."""
        if self._done is None:
            self._done = succeed(None) if self._finished else Deferred()
        return self._done

    def finish(self) -> None:
        """Both sides are gone, or the one that there was."""
        if self.left.lost and self.right.lost:
            for end in (self.left, self.right):
                # What refers to each other would be left to the garbage collector.
                del end.other, end.splice
        if not self._finished:
            self._finished = True
            if self._done is not None:
                self._done.callback(None)

    def begin(self) -> None:
        """Start the flow both ways."""
        left, right = self.left, self.right
        producers = (
            _join(left, right.transport, self._paces[0], self._gate),
            _join(right, left.transport, self._paces[1]),
        )
        for producer in producers:
            producer.resumeProducing()

    def abort(self) -> None:
        """Reset both sides."""
        for end in (self.left, self.right):
            if end.transport is not None and not end.lost:
                end.transport.abortConnection()


def _join(end: SpliceEnd, to: Any, pace: Pace | None, gate: Gate | None = None) -> Any:
    """What the end receives goes ``to`` the other transport; who is to be told when that takes more."""
    if pace is None:
        end.dataReceived = to.write  # type: ignore[method-assign]
        to.registerProducer(end.transport, True)
        return end.transport
    gate = gate or Gate(pace, end.transport)
    end.dataReceived = _through(gate, to.write)  # type: ignore[method-assign, assignment]
    to.registerProducer(gate, True)
    return gate


def _through(gate: Gate, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def pass_on(data: bytes) -> None:
        write(data)
        gate.passed(len(data))

    return pass_on


def splice(left: Any, right: Any, paces: tuple[Pace | None, Pace | None] = (None, None)) -> Deferred[None]:
    """Splice two transports whose protocol may be replaced by assignment; fires when both are gone."""
    pair = Splice(paces)
    for transport, end in ((left, pair.left), (right, pair.right)):
        transport.protocol = end
        end.makeConnection(transport)
    return pair.done
