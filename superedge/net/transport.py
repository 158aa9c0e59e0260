"""Stream transports on non-blocking sockets, with Twisted's contract: producers, half-close, one
connectionLost.

`superedge.net.sending` has the sending half; this module reads and closes.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any, cast

from twisted.internet import abstract, error, main
from twisted.internet.interfaces import IDelayedCall, IProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.interfaces import IReactor
from superedge.net.halfclose import half_closeable
from superedge.net.liveness import connection_info, has_vanished
from superedge.net.sending import SendingDescriptor
from superedge.net.sockets import twisted_address

READ_SIZE = 112 * 1024 - 12
"""Bytes of one read: few enough to stay in the processor's cache. With the 12 bytes of a frame's header they
fill seven TLS records."""
MAX_DISCARDED_READS = 16
"""Most reads of READ_SIZE whose bytes a closing transport discards."""
MAX_LAST_READS = 16
"""Most reads of READ_SIZE in a row from a connection that can no longer be written to."""
FLUSH_TIMEOUT = 30.0
FLUSH_MIN_BYTES = 4096
"""A closing transport is aborted when the peer takes less than FLUSH_MIN_BYTES in FLUSH_TIMEOUT seconds.

A slow reader gets everything; a reader that has stopped does not keep the transport forever."""
PEER_CHECK = 10.0
"""Seconds between two checks of a peer for which bytes wait."""

# All transports share this buffer: the one reactor thread copies each read out before any callback.
_read_view = memoryview(bytearray(READ_SIZE))
_log = Logger()


class ConnectionDropped(error.ConnectionAborted):
    """This end reset the connection. The exception's text is the reason that was given."""

    def __str__(self) -> str:
        return str(self.args[0])


@implementer(ITCPTransport)
class StreamTransport(SendingDescriptor):
    """A connected stream socket, TCP or Unix, without TLS."""

    __slots__ = ("_peer", "_polled", "_read_closed", "_reading", "protocol")

    # TLSTransport sets these. A plain transport has them too, so that protocols need no case distinction.
    peer_common_name: str | None = None
    peer_certificate: dict[str, Any] = {}
    peer_organizations: frozenset[str] = frozenset()
    alpn: str | None = None
    server_name: str | None = None

    _reset_at_end = False
    """Whether to reset the connection, not to close it, when everything is sent."""
    _flush_deadline: IDelayedCall | None = None
    _unflushed = 0
    """Bytes unsent when ``_flush_deadline`` started."""
    _peer_check: IDelayedCall | None = None

    def __init__(self, sock: socket.socket, protocol: IProtocol, reactor: IReactor, peer: Any) -> None:
        """``sock`` is non-blocking, with its options set; ``peer`` is its peer's address for the socket
        module."""
        SendingDescriptor.__init__(self, sock, reactor, isinstance(peer, tuple))
        self.protocol = protocol
        self._peer = peer
        self._reading = False
        self._polled = False
        """Whether the reactor polls the socket for read events."""
        self._read_closed = False

    def begin(self, read_now: bool = False) -> None:
        """Connect the protocol, then read unless it paused; with ``read_now``, try to read at once."""
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
        """Deliver up to READ_SIZE bytes to the protocol."""
        try:
            size = self.socket.recv_into(_read_view)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not size:
            return main.CONNECTION_LOST if self._send_failed else main.CONNECTION_DONE
        self.protocol.dataReceived(bytes(_read_view[:size]))
        return None

    def _reading_ended(self, outcome: Exception) -> None:
        """Do what the reactor does with the result of a doRead that it called."""
        self.stopReading()
        if outcome is main.CONNECTION_DONE:
            self.readConnectionLost(connectionDone)
        else:
            self.connectionLost(Failure(outcome))

    # -- a peer that vanished

    def _wait_to_send(self) -> None:
        SendingDescriptor._wait_to_send(self)
        if self._peer_check is None and self._tcp:
            self._peer_check = cast(IReactor, self.reactor).callLater(PEER_CHECK, self._check_peer)

    def _check_peer(self) -> None:
        self._peer_check = None
        if not self.unsent():
            return
        if has_vanished(connection_info(self.socket)):
            self.abortConnection("the peer has vanished: it acknowledges nothing")
        else:
            self._peer_check = cast(IReactor, self.reactor).callLater(PEER_CHECK, self._check_peer)

    # -- closing

    def loseConnection(self) -> None:
        """Close once everything queued is sent and no producer is registered, or when the peer takes
        nothing."""
        if not self.connected or self.disconnecting:
            return
        if self._writeDisconnected:
            abstract.FileDescriptor.loseConnection(self)
        elif self._idle:
            self.stopReading()
            self.disconnecting = 1
            self._await_iteration_end()
        else:
            self._start_flush_timeout()
            abstract.FileDescriptor.loseConnection(self)

    def _start_flush_timeout(self) -> None:
        if self._flush_deadline is None:
            reactor = cast(IReactor, self.reactor)
            self._unflushed = self.unsent()
            self._flush_deadline = reactor.callLater(FLUSH_TIMEOUT, self._flush_timed_out)

    def _end_if_idle(self) -> Any:
        """Close as asked for, unless a producer wants to send more first."""
        if self.disconnecting:
            outcome = self._postLoseConnection() if self._idle else None
            if outcome is None:
                self._start_flush_timeout()
            return outcome
        if self._idle and self._ending:
            self._writeDisconnected = True
            self._closeWriteConnection()
        return None

    def _flush_timed_out(self) -> None:
        self._flush_deadline = None
        if self.unsent() > self._unflushed - FLUSH_MIN_BYTES:
            self.abortConnection()
        else:
            self._start_flush_timeout()

    def _closeWriteConnection(self) -> None:
        with contextlib.suppress(OSError):
            self._shutdown_write()
        half = half_closeable(self.protocol)
        if half is not None:
            try:
                half.writeConnectionLost()
            except Exception:
                _log.failure("protocol failed in writeConnectionLost")
                self.connectionLost(Failure())

    def _shutdown_write(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer has sent FIN."""
        if self.disconnected or self._read_closed:
            return
        self._read_closed = True
        self._reading = self._polled = False  # the reactor removed it
        half = half_closeable(self.protocol)
        if half is None:
            self.connectionLost(reason)
            return
        try:
            half.readConnectionLost()
        except Exception:
            _log.failure("protocol failed in readConnectionLost")
            self.connectionLost(Failure())

    def abortConnection(self, reason: str = "") -> None:
        """Drop queued data and reset the connection (RST). ``connectionLost`` gets ``reason`` in a later
        call.

        The peer gets the RST even when the reactor or the process ends first.
        """
        if self.disconnected or self._aborting:
            return
        self._aborting = True
        self._reset_at_close()
        self.stopReading()
        self.stopWriting()
        problem = ConnectionDropped(reason) if reason else error.ConnectionAborted()
        cast(IReactor, self.reactor).callLater(0, self.connectionLost, Failure(problem))

    def abort_after_writes(self) -> None:
        """Reset the connection once everything queued is sent, so that the peer gets all of it and no FIN."""
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
        """Deliver what the peer sent before, then close the socket and call the protocol's ``connectionLost``
        once."""
        if self.disconnected or (reason.check(error.ConnectionLost) and self._holds_last_bytes()):
            return
        abstract.FileDescriptor.connectionLost(self, reason)
        if self._flush_deadline is not None:
            self._flush_deadline.cancel()
            self._flush_deadline = None
        if self._peer_check is not None:
            self._peer_check.cancel()
            self._peer_check = None
        self._close_socket(not self._aborting and not isinstance(reason.value, error.ConnectionAborted))
        protocol = self.protocol
        del self.protocol
        protocol.connectionLost(reason)

    def _reset_at_close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _holds_last_bytes(self) -> bool:
        """Deliver what arrived before the connection broke. Return whether a paused protocol still has to
        read.

        A server may answer an upload early and close. The transport learns of that by a failing write, while
        the answer is still to be read.
        """
        if self._read_closed or self._aborting or self.disconnecting:
            return False
        self._writeDisconnecting = self._writeDisconnected = True  # no more can be sent
        self.dataBuffer, self.offset = b"", 0
        self._tempDataBuffer, self._tempDataLen = [], 0
        self.stopWriting()
        reading = self._reading
        self.stopReading()
        self._reading = reading
        for _ in range(MAX_LAST_READS):
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
            # The paused producer may keep the protocol from reading, and nothing is queued any more.
            self.producerPaused = False
            cast(IPushProducer, self.producer).resumeProducing()
        return True

    def _readable(self) -> bool:
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _close_socket(self, orderly: bool) -> None:
        with contextlib.suppress(OSError):
            if not orderly:
                self._reset_at_close()
            elif not self._read_closed:
                # Closing with unread bytes would reset the connection and drop what the kernel still has to
                # send.
                for _ in range(MAX_DISCARDED_READS):
                    if not self.socket.recv_into(_read_view):
                        break
        self.socket.close()

    def resumeProducing(self) -> None:
        """Read again, unless the connection is closing."""
        if self.connected and not (self.disconnecting or self._aborting or self._read_closed):
            self.startReading()

    # -- ITCPTransport

    def getHost(self) -> Any:
        return twisted_address(self.socket.getsockname())

    def getPeer(self) -> Any:
        """The peer's address, also after the connection is lost."""
        return twisted_address(self._peer)

    def getTcpNoDelay(self) -> bool:
        """Always True: transports start with TCP_NODELAY on."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        if self._tcp:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        return bool(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Set SO_KEEPALIVE."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def logPrefix(self) -> str:
        """A constant: the reactor asks for it at every event, and SuperEdge's log lines name their module
        instead."""
        return "-"
