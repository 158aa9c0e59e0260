"""The sending half of a stream transport: sends at once, and queues only what the socket does not take.

Twisted's own transports queue every write until the reactor reports that the socket is writable. Sending
first saves a reactor iteration for each message. The rest of the contract is Twisted's: a producer is paused
while much is queued, and ``connectionLost`` is never called from inside a ``write``.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from twisted.internet import abstract, main
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.interfaces import IReactor
from superedge.reactor.iterations import ReactorIteration

SMALL_CHUNK = 1024
"""Bytes up to which queued chunks are joined: each chunk costs more memory than it holds."""
MAX_WRITE_SOON = 32 * 1024
"""Largest write, in bytes, that may wait for the end of the reactor iteration."""

_log = Logger()


def as_failure(outcome: Exception) -> Failure:
    """The reason for ``connectionLost`` from the result of a doRead or doWrite."""
    return connectionDone if outcome is main.CONNECTION_DONE else Failure(outcome)


class SendingDescriptor(abstract.FileDescriptor):
    """The send queue of a connected stream socket."""

    # Attribute access is slower on an object that has more than 30 attributes in its dictionary.
    __slots__ = ("_awaits_iteration_end", "_iteration", "_tcp", "_writing", "socket")
    bufferSize = 128 * 1024
    SEND_LIMIT = 1024 * 1024

    _send_failed = False
    """A send failed. The kernel reports a reset once, so a later end of the peer's data may be that reset."""

    def __init__(self, sock: socket.socket, reactor: IReactor, tcp: bool) -> None:
        abstract.FileDescriptor.__init__(self, reactor)
        self.socket = sock
        self.fileno = sock.fileno  # type: ignore[method-assign]
        self._tcp = tcp
        self._writing = False
        self._iteration = ReactorIteration.of(reactor)
        self._awaits_iteration_end = False
        self.connected = 1
        # Attribute access is faster on the instance than on the base class.
        self.dataBuffer = b""
        self.disconnected = self.disconnecting = 0
        self.producer = None
        self.producerPaused = self._writeDisconnecting = self._aborting = False

    def startWriting(self) -> None:
        """Ask the reactor for write events."""
        self._writing = True
        abstract.FileDescriptor.startWriting(self)

    def stopWriting(self) -> None:
        """Ask for no more write events."""
        if self._writing:
            self._writing = False
            abstract.FileDescriptor.stopWriting(self)

    def write(self, data: bytes) -> None:
        """Send what the socket takes now; queue the rest."""
        if not data or not self.connected or self._writeDisconnecting:
            return
        if self.dataBuffer or self._tempDataLen:
            waiting = self._tempDataBuffer
            if waiting and len(waiting[-1]) + len(data) <= SMALL_CHUNK:
                waiting[-1] += data
            else:
                waiting.append(data)
            self._tempDataLen += len(data)
            self._wait_to_send()
        else:
            self._send(data)

    def _send(self, data: bytes) -> None:
        """Send while nothing is queued; queue what the socket does not take."""
        sent = self.writeSomeData(data)
        if sent == len(data):
            return
        # A failed send is tried again by doWrite, where the reactor can report the loss.
        self.dataBuffer = data
        self.offset = sent if isinstance(sent, int) else 0
        self._wait_to_send()

    def _wait_to_send(self) -> None:
        self._maybePauseProducer()
        if not self._awaits_iteration_end:
            self.startWriting()

    def write_soon(self, data: bytes) -> None:
        """Like `write`, but sends small data at the end of the reactor iteration, together with other
        transports.

        A peer process that gets data on several connections at once wakes up once, and waking up costs it
        more than receiving. Data leaves at once when the iteration has no other event, so nothing else can be
        sent.
        """
        awaits_end = self._awaits_iteration_end
        if (
            (self._iteration.single_event and not awaits_end)
            or len(data) > MAX_WRITE_SOON
            or self.dataBuffer
            or not self.connected
            or self._writeDisconnecting
        ):
            self.write(data)
            return
        self._tempDataBuffer.append(data)
        self._tempDataLen += len(data)
        if not awaits_end:
            self._awaits_iteration_end = True
            self._iteration.add(self)
        if self.producer is not None:
            self._maybePauseProducer()

    def _await_iteration_end(self) -> None:
        if not self._awaits_iteration_end:
            self._awaits_iteration_end = True
            self._iteration.add(self)

    def _end_if_idle(self) -> Exception | None:
        """Close what was asked to be closed, now that nothing is queued. A subclass implements it."""
        raise NotImplementedError

    def iteration_ended(self) -> None:
        """Send what `write_soon` queued, then close if that was asked for."""
        self._awaits_iteration_end = False
        if self.disconnected or self._aborting:
            return
        outcome: Exception | None
        try:
            if not (self.dataBuffer or self.producerPaused or self.disconnecting or self._writeDisconnecting):
                waiting, self._tempDataBuffer = self._tempDataBuffer, []
                self._tempDataLen = 0
                self._send(waiting[0] if len(waiting) == 1 else b"".join(waiting))
                return
            waits = self.dataBuffer or self._tempDataLen
            outcome = self.doWrite() if waits else self._end_if_idle()
        except Exception as problem:
            _log.failure("transport failed to write")
            outcome = problem
        if outcome is not None:
            self.connectionLost(as_failure(outcome))
        elif not self.disconnected and (self.unsent() or self._ending):
            self.startWriting()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def writeSomeData(self, data: bytes | memoryview) -> int | Exception:
        """Send. Return the number of bytes that the socket took, or CONNECTION_LOST."""
        try:
            return self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._send_failed = True
            return main.CONNECTION_LOST

    def unsent(self) -> int:
        """Bytes queued in this process."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    def keep_queue_short(self, unsent: int) -> None:
        """Queue little: at most ``unsent`` bytes in the kernel that are not in flight, and one write's rest
        here."""
        self.bufferSize = 0
        if self._tcp:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent)

    def give_up_after(self, seconds: float) -> None:
        """End the connection when the peer acknowledges no sent data for ``seconds`` (TCP_USER_TIMEOUT)."""
        if self._tcp:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))

    @property
    def _idle(self) -> bool:
        """Nothing is queued, and no producer wants to send more."""
        waits = self.dataBuffer or self._tempDataLen
        return not waits and (self.producer is None or (self.streamingProducer and not self.producerPaused))

    @property
    def _ending(self) -> bool:
        """Closing was asked for and is not done."""
        return bool(self.disconnecting) or (self._writeDisconnecting and not self._writeDisconnected)

    def loseWriteConnection(self) -> None:
        """Send FIN once everything queued is sent."""
        if self._writeDisconnecting or not self.connected:
            return
        self._writeDisconnecting = True
        if self._idle:
            self._await_iteration_end()
        else:
            self.startWriting()

    def unregisterProducer(self) -> None:
        """The producer has finished: the connection can close."""
        self.producer = None
        if self.disconnecting and self.connected and not self._awaits_iteration_end:
            self.startWriting()
