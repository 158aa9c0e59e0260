"""Stream transports on non-blocking sockets that send at once.

Twisted's own transports queue every write until the reactor reports the socket writable. Sending
first and queueing only the rest saves a reactor round a message. TLS runs directly on the socket
(`ssl.SSLSocket`), without Twisted's memory buffers between. The contract is Twisted's: producers,
half-close, ``connectionLost`` exactly once and never from inside a ``write``.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from typing import Any, cast

from twisted.internet import abstract, error, main
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.interfaces import IReactor

READ_SIZE = 256 * 1024
RECORD_SIZE = 16 * 1024
"""Bytes of a full TLS record."""
FLUSH_TIMEOUT = 30.0
"""Seconds a closing transport may take to send what it still holds, then it is aborted."""

# One reactor thread reads at a time and copies out before any callback, so all transports share it.
_read_view = memoryview(bytearray(READ_SIZE))
_log = Logger()


def _peer_of(sock: socket.socket) -> Any:
    try:
        return sock.getpeername()
    except OSError:  # the peer was gone before we looked
        return ("::", 0, 0, 0) if sock.family == socket.AF_INET6 else ("0.0.0.0", 0)


def socket_address(sockaddr: Any, family: int) -> IAddress:
    """Twisted's address object for what the socket module calls an address."""
    if family == socket.AF_UNIX:
        return cast(IAddress, UNIXAddress(sockaddr or b""))
    if family == socket.AF_INET6:
        return cast(IAddress, IPv6Address("TCP", *sockaddr))
    return cast(IAddress, IPv4Address("TCP", *sockaddr))


def address_text(address: object) -> str:
    """An address for people: ``127.0.0.1:80``, ``[::1]:80`` or ``unix:/path``."""
    if isinstance(address, UNIXAddress):
        path = address.name or b""
        return f"unix:{path.decode(errors='backslashreplace') if isinstance(path, bytes) else path}"
    if isinstance(address, IPv4Address | IPv6Address):
        return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
    return str(address)


@implementer(ITCPTransport)
class StreamTransport(abstract.FileDescriptor):
    """A connected stream socket, TCP or Unix, without TLS."""

    bufferSize = 256 * 1024
    SEND_LIMIT = 1024 * 1024

    # Present on every transport so that protocols need not ask which kind they got.
    peer_common_name: str | None = None
    peer_certificate: dict[str, Any] = {}
    alpn: str | None = None
    server_name: str | None = None

    _aborting = False
    _flush_deadline: IDelayedCall | None = None

    def __init__(self, sock: socket.socket, protocol: IProtocol, reactor: IReactor) -> None:
        abstract.FileDescriptor.__init__(self, reactor)
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            enable_keepalive(sock)
        self.socket = sock
        self.fileno = sock.fileno  # type: ignore[method-assign]
        self.protocol = protocol
        self._family = sock.family
        self._peer = _peer_of(sock)
        self._reading = False
        self._read_closed = False
        self.connected = 1

    # -- reading

    def startReading(self) -> None:
        """Ask the reactor for read events."""
        self._reading = True
        abstract.FileDescriptor.startReading(self)

    def stopReading(self) -> None:
        """Ask for no more read events."""
        self._reading = False
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
            return main.CONNECTION_DONE
        self.protocol.dataReceived(bytes(_read_view[:size]))
        return None

    # -- writing

    def write(self, data: bytes) -> None:
        """Send now what the socket takes; queue the rest."""
        if not data or not self.connected or self._writeDisconnected:
            return
        if self.dataBuffer or self._tempDataLen:
            self._tempDataBuffer.append(data)
            self._tempDataLen += len(data)
        else:
            sent = self.writeSomeData(data)
            if sent == len(data):
                return
            # A failed send is tried again by doWrite, where the reactor can report the loss.
            self.dataBuffer = data
            self.offset = sent if isinstance(sent, int) else 0
        self._maybePauseProducer()
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
            return main.CONNECTION_LOST

    def unsent(self) -> int:
        """Bytes queued in this process."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    # -- closing

    def loseConnection(self) -> None:
        """Close once everything queued is sent and no producer is registered; bounded in time."""
        if self.connected and not self.disconnecting and self._flush_deadline is None:
            reactor = cast(IReactor, self.reactor)
            self._flush_deadline = reactor.callLater(FLUSH_TIMEOUT, self._flush_timed_out)
        abstract.FileDescriptor.loseConnection(self)

    def _flush_timed_out(self) -> None:
        self._flush_deadline = None
        self.abortConnection()

    def _closeWriteConnection(self) -> None:
        with contextlib.suppress(OSError):
            self._shutdown_write()
        half = IHalfCloseableProtocol(self.protocol, None)
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
        half = IHalfCloseableProtocol(self.protocol, None)
        if half is None:
            self.connectionLost(reason)
            return
        try:
            half.readConnectionLost()
        except Exception:
            _log.failure("protocol failed in readConnectionLost")
            self.connectionLost(Failure())

    def abortConnection(self) -> None:
        """Drop queued data and the connection (RST), without a callback from inside this call."""
        if self.disconnected or self._aborting:
            return
        self._aborting = True
        self.stopReading()
        self.stopWriting()
        cast(IReactor, self.reactor).callLater(0, self.connectionLost, Failure(error.ConnectionAborted()))

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket and tell the protocol, once."""
        if self.disconnected:
            return
        abstract.FileDescriptor.connectionLost(self, reason)
        if self._flush_deadline is not None:
            self._flush_deadline.cancel()
            self._flush_deadline = None
        self._close_socket(reason.check(error.ConnectionAborted) is None)
        protocol = self.protocol
        del self.protocol
        protocol.connectionLost(reason)

    def _close_socket(self, orderly: bool) -> None:
        with contextlib.suppress(OSError):
            if not orderly:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def resumeProducing(self) -> None:
        """Read again, unless the connection is closing."""
        if self.connected and not (self.disconnecting or self._aborting or self._read_closed):
            self.startReading()

    # -- ITCPTransport

    def getHost(self) -> Any:
        """The local address."""
        return socket_address(self.socket.getsockname(), self._family)

    def getPeer(self) -> Any:
        """The other end's address, also after the connection is gone."""
        return socket_address(self._peer, self._family)

    def getTcpNoDelay(self) -> bool:
        """Whether small writes leave at once; always so on TCP."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Set TCP_NODELAY; transports start with it on."""
        if self._family != socket.AF_UNIX:
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


class TLSTransport(StreamTransport):
    """TLS on a connected socket; ``protocol`` is connected by ``on_ready`` after the handshake."""

    socket: ssl.SSLSocket

    def __init__(
        self,
        sock: ssl.SSLSocket,
        protocol: IProtocol,
        reactor: IReactor,
        on_ready: Callable[[], None],
    ) -> None:
        StreamTransport.__init__(self, sock, protocol, reactor)
        self._on_ready: Callable[[], None] | None = on_ready
        self._held_back = False
        self._both_ended = False
        self.failure_text: str | None = None

    def handshake(self) -> Exception | None:
        """Go on with the handshake as far as the socket allows."""
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            self.stopWriting()
            self.startReading()
            return None
        except ssl.SSLWantWriteError:
            self.startWriting()
            return None
        except ssl.SSLError as problem:
            self.failure_text = describe_tls_failure(problem)
            return main.CONNECTION_LOST
        except OSError as problem:
            self.failure_text = f"connection lost in the TLS handshake: {problem.strerror or problem}"
            return main.CONNECTION_LOST
        self.stopWriting()
        self.peer_certificate = self.socket.getpeercert() or {}
        self.peer_common_name = common_name_of(self.peer_certificate)
        self.alpn = self.socket.selected_alpn_protocol()
        self.server_name = getattr(self.socket, "requested_name", None)
        on_ready, self._on_ready = self._on_ready, None
        if on_ready is not None:
            self.startReading()
            on_ready()
            # What came in with the handshake's last flight is in OpenSSL's buffer, unseen by the reactor.
            if self.connected and not self.disconnecting and self.socket.pending():
                return self.doRead()
        return None

    def doRead(self) -> Exception | None:
        """Read whole records until the socket is empty or READ_SIZE bytes are there."""
        if self._on_ready is not None:
            return self.handshake()
        if self._both_ended:
            return main.CONNECTION_DONE
        sock, size = self.socket, 0
        outcome: Exception | None = None
        try:
            while size < READ_SIZE:
                count = cast(int, sock.read(READ_SIZE - size, _read_view[size:]))
                if not count:
                    outcome = main.CONNECTION_DONE
                    break
                size += count
                if count < RECORD_SIZE and not sock.pending():
                    break  # a short record is most often the last: the reactor tells of more
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            # The peer's end after ours; before ours it is an empty read.
            outcome = main.CONNECTION_DONE
        except ssl.SSLEOFError:
            outcome = main.CONNECTION_LOST  # cut off: no close_notify came
        except ssl.SSLError as problem:
            # In TLS 1.3 a server's verdict on our certificate arrives after the handshake.
            self.failure_text = describe_tls_failure(problem)
            outcome = main.CONNECTION_LOST
        except OSError:
            outcome = main.CONNECTION_LOST
        if size:
            self.protocol.dataReceived(bytes(_read_view[:size]))
            # What OpenSSL still holds, an end included, raises no event on the socket. The protocol
            # may have paused: then it is for when reading starts again.
            if outcome is not None or (size == READ_SIZE and self.connected and sock.pending()):
                self._held_back = True
                cast(IReactor, self.reactor).callLater(0, self._read_held_back)
            return None
        return outcome

    def startReading(self) -> None:
        """Ask the reactor for read events, and look at what OpenSSL holds."""
        super().startReading()
        if self._held_back:
            cast(IReactor, self.reactor).callLater(0, self._read_held_back)

    def _read_held_back(self) -> None:
        if self._held_back and self.connected and self._reading:
            self._held_back = False
            outcome = self.doRead()
            if outcome is not None:
                self.stopReading()
                if outcome is main.CONNECTION_DONE:
                    self.readConnectionLost(Failure(outcome))
                else:
                    self.connectionLost(Failure(outcome))

    def doWrite(self) -> Any:
        """Send queued data, or go on with the handshake."""
        if self._on_ready is not None:
            return self.handshake()
        return abstract.FileDescriptor.doWrite(self)

    def writeSomeData(self, data: bytes | memoryview) -> int | Exception:
        """Encrypt and send, record by record."""
        sock, total = self.socket, len(data)
        try:
            sent = sock.write(data)
            if sent == total:
                return sent
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0
        except OSError:
            return main.CONNECTION_LOST
        view = memoryview(data)
        try:
            while sent < total:
                sent += sock.write(view[sent:])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError:
            return main.CONNECTION_LOST
        return sent

    def _shutdown_write(self) -> None:
        # Sends close_notify; that the peer's own has not come yet is expected. When it has, nothing can
        # be read any more, and the reactor must look once to find that out.
        with contextlib.suppress(ssl.SSLError):
            self.socket.unwrap()
            self._both_ended = self._held_back = True
            if self._reading and not self._read_closed:
                cast(IReactor, self.reactor).callLater(0, self._read_held_back)

    def _close_socket(self, orderly: bool) -> None:
        if orderly and self._on_ready is None and not self._both_ended:
            with contextlib.suppress(OSError, ValueError):
                self.socket.unwrap()
        StreamTransport._close_socket(self, orderly)


def enable_keepalive(sock: socket.socket) -> None:
    """Notice a silent peer in about 30 s even on a connection that carries nothing."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def common_name_of(certificate: dict[str, Any]) -> str | None:
    """The last CN of a certificate's subject as `ssl.SSLSocket.getpeercert` gives it."""
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return names[-1] if names else None


def organizations_of(certificate: dict[str, Any]) -> list[str]:
    """The O values of a certificate's subject: groups, in Kubernetes."""
    return [
        value for part in certificate.get("subject", ()) for key, value in part if key == "organizationName"
    ]


def describe_tls_failure(problem: ssl.SSLError) -> str:
    """One clause for a log line or an error."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {problem.verify_message}"
    if isinstance(problem, ssl.SSLEOFError):
        return "the peer closed during the TLS handshake"
    reason = (problem.reason or str(problem)).lower().replace("_", " ")
    return f"TLS handshake failed: {reason}"
