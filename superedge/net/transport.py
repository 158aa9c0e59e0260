"""Stream transports on non-blocking sockets that send at once.

Twisted's own transports queue every write until the reactor reports the socket writable. Sending
first and queueing only the rest saves a reactor round a message. The contract is Twisted's: producers,
half-close, ``connectionLost`` exactly once and never from inside a ``write``.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable
from typing import Any, cast

from twisted.internet import abstract, error, main
from twisted.internet.interfaces import IDelayedCall, IProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.interfaces import IReactor
from superedge.net.halfclose import by_halves
from superedge.net.sockets import socket_address
from superedge.reactor.iterations import ReactorIteration

READ_SIZE = 112 * 1024
"""Small enough to stay in the cache, and for the allocator to use the memory again."""
SMALL_PIECE = 1024
"""Pieces are joined up to this size while they wait, since each costs more memory than it holds."""
SOON = 32 * 1024
"""Most bytes of one write that may wait for the end of the reactor's round."""
DISCARDED_READS = 16
"""Most reads of READ_SIZE whose bytes a closing transport discards."""
LAST_READS = 16
"""Most reads of READ_SIZE in a row from a connection that can no longer be written to."""
FLUSH_TIMEOUT = 30.0
FLUSH_PACE = 4096
"""A closing transport is aborted when FLUSH_TIMEOUT seconds bring less than FLUSH_PACE bytes of what it still
holds to the peer: a slow reader gets everything, one that stands still does not keep it for ever."""

# One reactor thread reads at a time and copies out before any callback, so all transports share it.
_read_view = memoryview(bytearray(READ_SIZE))
_log = Logger()


class Dropped(error.ConnectionAborted):
    """We ended the connection at once, for a reason that is the whole text."""

    def __str__(self) -> str:
        return str(self.args[0])


def _failure(outcome: Exception) -> Failure:
    return connectionDone if outcome is main.CONNECTION_DONE else Failure(outcome)


@implementer(ITCPTransport)
class StreamTransport(abstract.FileDescriptor):
    """A connected stream socket, TCP or Unix, without TLS."""

    # The attributes of an object that has more than 30 in its dictionary are found more slowly.
    __slots__ = (
        "_in_round",
        "_peer",
        "_polled",
        "_read_closed",
        "_reading",
        "_round",
        "_tcp",
        "_writing",
        "protocol",
        "socket",
    )
    bufferSize = 256 * 1024
    SEND_LIMIT = 1024 * 1024

    # Present on every transport so that protocols need not ask which kind they got.
    peer_common_name: str | None = None
    peer_certificate: dict[str, Any] = {}
    peer_organizations: frozenset[str] = frozenset()
    alpn: str | None = None
    server_name: str | None = None

    _broken = False
    """A write failed. The kernel tells of a reset once: what is read from here on seems to end in order."""
    _reset_at_end = False
    """The end, when everything is sent, is a reset."""
    _flush_deadline: IDelayedCall | None = None
    _unflushed = 0
    """Bytes unsent when ``_flush_deadline`` began."""

    def __init__(self, sock: socket.socket, protocol: IProtocol, reactor: IReactor, peer: Any) -> None:
        """The socket does not block and is prepared; ``peer`` is what the socket module calls its address."""
        abstract.FileDescriptor.__init__(self, reactor)
        self.socket = sock
        self.fileno = sock.fileno  # type: ignore[method-assign]
        self.protocol = protocol
        self._peer = peer
        self._tcp = isinstance(peer, tuple)
        self._reading = False
        self._polled = False
        """Whether the reactor looks for read events."""
        self._writing = False
        self._read_closed = False
        self._round = ReactorIteration.of(reactor)
        self._in_round = False
        self.connected = 1
        # What the base class has for all of them is found more slowly there.
        self.dataBuffer = b""
        self.disconnected = self.disconnecting = 0
        self.producer = None
        self.producerPaused = self._writeDisconnecting = self._aborting = False

    def begin(self, read_now: bool = False) -> None:
        """Connect the protocol, then read unless it paused; ``read_now`` tries once before any event."""
        self._reading = True
        self.protocol.makeConnection(self)
        if not self._reading:
            return
        self.startReading()
        outcome: Exception | None
        try:
            outcome = self.doRead() if read_now else None
        except Exception as problem:
            _log.failure("protocol failed in dataReceived")
            outcome = problem
        if outcome is not None:
            self._reading_ended(outcome)

    # -- reading

    def startReading(self) -> None:
        """Ask the reactor for read events."""
        self._reading = True
        if not self._polled:
            self._polled = True
            abstract.FileDescriptor.startReading(self)

    def stopReading(self) -> None:
        """Ask for no more read events."""
        self._reading = False
        if self._polled:
            self._polled = False
            abstract.FileDescriptor.stopReading(self)

    def doRead(self) -> Exception | None:
        """Hand the protocol what the socket has, up to READ_SIZE bytes."""
        try:
            size = self.socket.recv_into(_read_view)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not size:
            return main.CONNECTION_LOST if self._broken else main.CONNECTION_DONE
        self.protocol.dataReceived(bytes(_read_view[:size]))
        return None

    def _reading_ended(self, outcome: Exception) -> None:
        """What the reactor does with the result of a doRead that it called."""
        self.stopReading()
        if outcome is main.CONNECTION_DONE:
            self.readConnectionLost(connectionDone)
        else:
            self.connectionLost(Failure(outcome))

    # -- writing

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
        """Send now what the socket takes; queue the rest."""
        if not data or not self.connected or self._writeDisconnecting:
            return
        if self.dataBuffer or self._tempDataLen:
            waiting = self._tempDataBuffer
            if waiting and len(waiting[-1]) + len(data) <= SMALL_PIECE:
                waiting[-1] += data
            else:
                waiting.append(data)
            self._tempDataLen += len(data)
            self._wait_to_send()
        else:
            self._send(data)

    def _send(self, data: bytes) -> None:
        """Send while nothing else waits; queue the rest."""
        sent = self.writeSomeData(data)
        if sent == len(data):
            return
        # A failed send is tried again by doWrite, where the reactor can report the loss.
        self.dataBuffer = data
        self.offset = sent if isinstance(sent, int) else 0
        self._wait_to_send()

    def _wait_to_send(self) -> None:
        self._maybePauseProducer()
        if not self._in_round:
            self.startWriting()

    def write_soon(self, data: bytes) -> None:
        """Like `write`, but small data is sent with the other transports' at the end of the reactor's round.

        A peer that is sent to while it still works on what others were sent need not be woken up, which
        costs more than the sending. When no other can have anything to send it leaves at once.
        """
        at_once = self._round.single_event and not self._in_round
        if at_once or len(data) > SOON or self.dataBuffer or not self.connected or self._writeDisconnecting:
            self.write(data)
            return
        self._tempDataBuffer.append(data)
        self._tempDataLen += len(data)
        if not self._in_round:
            self._act_at_end_of_round()
        if self.producer is not None:
            self._maybePauseProducer()

    def _act_at_end_of_round(self) -> None:
        if not self._in_round:
            self._in_round = True
            self._round.add(self)

    def iteration_ended(self) -> None:
        """Send what `write_soon` was given, then end what is to be ended."""
        self._in_round = False
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
            self.connectionLost(_failure(outcome))
        elif not self.disconnected and (self.unsent() or self._ending):
            self.startWriting()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send the chunks as one."""
        self.write(b"".join(iovec))

    def writeSomeData(self, data: bytes | memoryview) -> int | Exception:
        """Send; the number of bytes taken, or the exception that says the connection is gone."""
        try:
            return self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._broken = True
            return main.CONNECTION_LOST

    def unsent(self) -> int:
        """Bytes queued in this process."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    def keep_queue_short(self, unsent: int) -> None:
        """Let few bytes wait: ``unsent`` in the kernel beyond those under way, here the rest of one write."""
        self.bufferSize = 0
        if self._tcp:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent)

    def give_up_after(self, seconds: float) -> None:
        """End the connection when the peer takes nothing for so long, although it is alive."""
        if self._tcp:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))

    # -- closing

    def loseConnection(self) -> None:
        """Close once everything queued is sent and no producer is registered, or when nothing moves."""
        if not self.connected or self.disconnecting:
            return
        if self._writeDisconnected:
            abstract.FileDescriptor.loseConnection(self)
        elif self._idle:
            self.stopReading()
            self.disconnecting = 1
            self._act_at_end_of_round()
        else:
            self._bound_flush()
            abstract.FileDescriptor.loseConnection(self)

    @property
    def _idle(self) -> bool:
        """Nothing is to be sent before an end."""
        waits = self.dataBuffer or self._tempDataLen
        return not waits and (self.producer is None or (self.streamingProducer and not self.producerPaused))

    @property
    def _ending(self) -> bool:
        """An end is still to come."""
        return bool(self.disconnecting) or (self._writeDisconnecting and not self._writeDisconnected)

    def _bound_flush(self) -> None:
        if self._flush_deadline is None:
            reactor = cast(IReactor, self.reactor)
            self._unflushed = self.unsent()
            self._flush_deadline = reactor.callLater(FLUSH_TIMEOUT, self._flush_timed_out)

    def _end_if_idle(self) -> Any:
        """The end that was asked for, unless a producer wants to send more first."""
        if self.disconnecting:
            outcome = self._postLoseConnection() if self._idle else None
            if outcome is None:
                self._bound_flush()
            return outcome
        if self._idle and self._ending:
            self._writeDisconnected = True
            self._closeWriteConnection()
        return None

    def loseWriteConnection(self) -> None:
        """End our half once everything queued is sent."""
        if self._writeDisconnecting or not self.connected:
            return
        self._writeDisconnecting = True
        if self._idle:
            self._act_at_end_of_round()
        else:
            self.startWriting()

    def unregisterProducer(self) -> None:
        """The producer has no more: what it held up can end."""
        self.producer = None
        if self.disconnecting and self.connected and not self._in_round:
            self.startWriting()

    def _flush_timed_out(self) -> None:
        self._flush_deadline = None
        if self.unsent() > self._unflushed - FLUSH_PACE:
            self.abortConnection()
        else:
            self._bound_flush()

    def _closeWriteConnection(self) -> None:
        with contextlib.suppress(OSError):
            self._shutdown_write()
        half = by_halves(self.protocol)
        if half is not None:
            try:
                half.writeConnectionLost()
            except Exception:
                _log.failure("protocol failed in writeConnectionLost")
                self.connectionLost(Failure())

    def _shutdown_write(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer will send no more."""
        if self.disconnected or self._read_closed:
            return
        self._read_closed = True
        self._reading = self._polled = False  # the reactor took it out
        half = by_halves(self.protocol)
        if half is None:
            self.connectionLost(reason)
            return
        try:
            half.readConnectionLost()
        except Exception:
            _log.failure("protocol failed in readConnectionLost")
            self.connectionLost(Failure())

    def abortConnection(self, reason: str = "") -> None:
        """Drop queued data and the connection (RST), without a callback from inside this call.

        The protocol's ``connectionLost`` is told ``reason``. The peer gets the RST also when the reactor or
        the process ends first.
        """
        if self.disconnected or self._aborting:
            return
        self._aborting = True
        self._reset_at_close()
        self.stopReading()
        self.stopWriting()
        problem = Dropped(reason) if reason else error.ConnectionAborted()
        cast(IReactor, self.reactor).callLater(0, self.connectionLost, Failure(problem))

    def abort_after_writes(self) -> None:
        """Reset the connection once what is queued has left: the peer gets all of it, and no orderly end."""
        if self.disconnected or self._aborting:
            return
        if not self.unsent():
            self.abortConnection()
            return
        self._reset_at_end = True
        if self._writeDisconnecting:
            self._writeDisconnecting = self._writeDisconnected = False
        self.loseConnection()

    def _postLoseConnection(self) -> Any:
        return error.ConnectionAborted() if self._reset_at_end else main.CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket and tell the protocol, once, after what the peer said before it left."""
        if self.disconnected or (reason.check(error.ConnectionLost) and self._holds_last_words()):
            return
        abstract.FileDescriptor.connectionLost(self, reason)
        if self._flush_deadline is not None:
            self._flush_deadline.cancel()
            self._flush_deadline = None
        self._close_socket(not self._aborting and not isinstance(reason.value, error.ConnectionAborted))
        protocol = self.protocol
        del self.protocol
        protocol.connectionLost(reason)

    def _reset_at_close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _holds_last_words(self) -> bool:
        """Hand over what came before the connection broke; whether more of it waits for a paused protocol.

        A server that answers an upload early and closes is told of by a failing write, while its answer is
        still to be read.
        """
        if self._read_closed or self._aborting or self.disconnecting:
            return False
        self._writeDisconnecting = self._writeDisconnected = True  # nothing can be sent any more
        self.dataBuffer, self.offset = b"", 0
        self._tempDataBuffer, self._tempDataLen = [], 0
        self.stopWriting()
        reading = self._reading
        self.stopReading()
        self._reading = reading
        for _ in range(LAST_READS):
            if not self._reading:
                break
            try:
                if self.doRead() is not None:
                    return False
            except Exception:
                _log.failure("protocol failed in dataReceived")
                return False
        if self.disconnected or self._aborting or self.disconnecting or not self._readable():
            return False
        if self._reading:
            self.startReading()
        elif self.producer is not None and self.producerPaused:
            # It may be what keeps the protocol from reading, and nothing waits to be sent any more.
            self.producerPaused = False
            cast(IPushProducer, self.producer).resumeProducing()
        return True

    def _readable(self) -> bool:
        """Whether the socket has bytes."""
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _close_socket(self, orderly: bool) -> None:
        with contextlib.suppress(OSError):
            if not orderly:
                self._reset_at_close()
            elif not self._read_closed:
                # Closing with bytes unread would reset the connection and drop what is still to be sent.
                for _ in range(DISCARDED_READS):
                    if not self.socket.recv_into(_read_view):
                        break
        self.socket.close()

    def resumeProducing(self) -> None:
        """Read again, unless the connection is closing."""
        if self.connected and not (self.disconnecting or self._aborting or self._read_closed):
            self.startReading()

    # -- ITCPTransport

    def getHost(self) -> Any:
        """The local address."""
        return socket_address(self.socket.getsockname())

    def getPeer(self) -> Any:
        """The other end's address, also after the connection is gone."""
        return socket_address(self._peer)

    def getTcpNoDelay(self) -> bool:
        """Whether small writes leave at once; always so on TCP."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Set TCP_NODELAY; transports start with it on."""
        if self._tcp:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether TCP keepalive probes are sent."""
        return bool(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Set SO_KEEPALIVE; TCP transports start with it on."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def logPrefix(self) -> str:
        """Asked by the reactor at every event; log lines here name their module instead."""
        return "-"
