"""TLS on the transports of `superedge.net.transport`.

The TLS engine (`ssl.SSLObject`) works on memory buffers, and this module moves bytes between them and the
socket. An ``ssl.SSLSocket`` would do both, but it reads while it closes its half of a connection and drops
what it reads. Large reads and writes also take fewer system calls than OpenSSL's own, which handle one record
at a time.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import abstract, main
from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger

from superedge.interfaces import IReactor
from superedge.net.sockets import address_text
from superedge.net.tlsrecords import RecordCounter
from superedge.net.transport import StreamTransport

READ_SIZE = 128 * 1024
MAX_SLICE = 64 * 1024
"""Most bytes handed to the engine at once: its buffers keep the size they once had."""
INCOMING_SLICE = 48 * 1024
"""As MAX_SLICE, of what comes in: some of a record, at most 16 KiB, may wait in the same buffer."""
MAX_RECORDS = 256
"""Most records handed to it at once. Those without data of the peer's can cost more than any others."""
MAX_EMPTY_RECORDS = 64
"""Most such records that a peer may send at once; it may send one more each second. Key updates are rare."""
SMALL_RECORD = 128
SMALL_READ_SIZE = 16 * 1024
"""Bytes of one read from a peer whose records have fewer than SMALL_RECORD bytes: each record costs the same,
however small, and other connections must not wait."""

_DER = 2
"""What the module ssl calls ENCODING_DER from Python 3.13 on."""

# One reactor thread reads at a time and copies out before any callback, so all transports share them. A
# read can complete one record more than its own size.
_cipher_view = memoryview(bytearray(READ_SIZE))
_small_cipher_view = _cipher_view[:SMALL_READ_SIZE]
_plain_view = memoryview(bytearray(READ_SIZE + 32 * 1024))
_log = Logger()


class TLSTransport(StreamTransport):
    """TLS on a connected socket; ``protocol`` is connected by ``on_ready`` after the handshake.

    ``failure_text`` says in one clause why TLS failed, None as long as it did not.
    """

    __slots__ = (
        "_cipher",
        "_close_notify_sent",
        "_empty_at",
        "_empty_records",
        "_encrypt",
        "_encrypted",
        "_incoming",
        "_on_ready",
        "_outgoing",
        "_read_into",
        "_read_result",
        "_records",
        "_tls",
        "_undelivered",
        "_view",
        "failure_text",
    )

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        protocol: IProtocol,
        reactor: IReactor,
        on_ready: Callable[[], None],
        peer: Any,
        server_name: str | None = None,
    ) -> None:
        """A TLS client if ``server_name`` is given, which the certificate must carry; otherwise a server."""
        StreamTransport.__init__(self, sock, protocol, reactor, peer)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        # The methods of SSLObject only call these.
        engine = cast(Any, self._tls)._sslobj
        self._read_into, self._encrypt = engine.read, engine.write
        self._on_ready: Callable[[], None] | None = on_ready
        self._cipher: bytes | memoryview = b""
        """Encrypted bytes that the socket has not taken yet."""
        self._encrypted = 0
        """Plain bytes at the head of the send queue whose encrypted form is in ``_cipher``."""
        self._undelivered = b""
        """Data that came with the handshake's last flight and that a paused protocol has not got yet."""
        self._read_result: Exception | None = None
        """How reading ended, while a paused protocol has not been notified."""
        self._close_notify_sent = False
        """Whether the close_notify alert was sent."""
        self._records = RecordCounter()
        self._view = _cipher_view
        """The buffer for the next read."""
        self._empty_records, self._empty_at = 0.0, 0.0
        """Records without application data that count against the peer, and when the last of them came."""
        self.failure_text: str | None = None

    # -- handshake

    def handshake(self, size: int = 0) -> Exception | None:
        """Continue the handshake with the ``size`` bytes that were read into ``_cipher_view``."""
        at = 0
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                if at == size:
                    self.startReading()
                    return self._send_control()
                stop, _ = self._records.scan(_cipher_view, at, min(at + INCOMING_SLICE, size), 1)
                self._incoming.write(_cipher_view[at:stop])
                at = stop
            except ssl.SSLError as problem:
                self._failed(describe_tls_failure(problem))
                self._send_control()  # the alert that tells the peer why
                return main.CONNECTION_LOST
        lost = self._send_control()
        if lost is not None:
            return lost
        self.peer_certificate = self._tls.getpeercert() or {}
        self.peer_common_name = common_name_of(self.peer_certificate)
        self.peer_organizations = frozenset(organizations_of(self.peer_certificate))
        self.alpn = self._tls.selected_alpn_protocol()
        self.server_name = getattr(self._tls, "requested_name", None)
        on_ready, self._on_ready = cast(Callable[[], None], self._on_ready), None
        undelivered, end = self._decrypt(at, size)
        self._undelivered, self._read_result = bytes(_plain_view[:undelivered]), end
        self.startReading()
        on_ready()
        return self._deliver()

    def _failed(self, why: str) -> None:
        """Note the cause, which comes first: what is read of a lost connection fails again, for less."""
        self.failure_text = self.failure_text or why

    def peer_der(self) -> bytes:
        """The peer's certificate, DER; empty without one."""
        return self._tls.getpeercert(True) or b""

    def verified_chain(self) -> list[bytes]:
        """The peer's certificate chain up to the trusted CA, DER; empty on a resumed session."""
        # Public from Python 3.13 on; the private method of earlier versions returns the same.
        chain = cast(Any, self._tls)._sslobj.get_verified_chain() or ()
        return [each.public_bytes(_DER) for each in chain]

    # -- reading

    def doRead(self) -> Exception | None:
        """Read and decrypt up to READ_SIZE bytes, and deliver them to the protocol."""
        if self._read_result is not None:
            return self._read_result
        try:
            size = self.socket.recv_into(self._view)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as problem:
            if self._on_ready is not None:
                self._failed(f"connection lost in the TLS handshake: {problem.strerror or problem}")
            return main.CONNECTION_LOST
        if self._on_ready is not None:
            if not size:
                self._incoming.write_eof()
            return self.handshake(size)
        if not size:
            return main.CONNECTION_LOST  # truncated: the peer sent no close_notify
        count, end = self._decrypt(0, size)
        if count:
            self.protocol.dataReceived(bytes(_plain_view[:count]))
        if end is not None and not self._reading:
            self._read_result = end  # the protocol is paused: report the end when it reads again
            return None
        return end

    def _decrypt(self, at: int, size: int) -> tuple[int, Exception | None]:
        """Decrypt ``_cipher_view[at:size]``.

        Return the number of bytes in ``_plain_view``, and the end if any.
        """
        incoming, read_into, done = self._incoming, self._read_into, 0
        end: Exception | None = None
        total = 0
        take = self._records.scan
        while end is None:
            stop, whole = take(_cipher_view, at, min(at + INCOMING_SLICE, size), MAX_RECORDS)
            incoming.write(_cipher_view[at:stop])
            at = stop
            total += whole
            empty = whole or 1  # what is not whole may be no record at all: the engine tells
            try:
                while empty:
                    room = _plain_view[done:] if done else _plain_view
                    count = read_into(len(room), room)
                    if not count:
                        return done, main.CONNECTION_DONE
                    done += count
                    empty -= 1
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:  # close_notify after our own; before ours it is an empty read
                return done, main.CONNECTION_DONE
            except ssl.SSLError as problem:
                # In TLS 1.3 a server's verdict on our certificate arrives after the handshake.
                self._failed(f"TLS failed: {_reason(problem)}")
                end = main.CONNECTION_LOST
            if empty and whole and self._too_many_empty(empty):
                self._failed("the peer sends too many TLS records without data")
                end = main.CONNECTION_LOST
            if at == size:
                break
        self._view = (
            _small_cipher_view if total > MAX_RECORDS and total * SMALL_RECORD > size else _cipher_view
        )
        if self._outgoing.pending:  # a response to a key update, or an alert
            self._send_control()
        return done, end

    def _too_many_empty(self, empty: int) -> bool:
        """Count records without application data. Return whether the peer has sent too many."""
        now = cast(IReactor, self.reactor).seconds()
        self._empty_records = max(0.0, self._empty_records - (now - self._empty_at)) + empty
        self._empty_at = now
        return self._empty_records > MAX_EMPTY_RECORDS

    def startReading(self) -> None:
        """Ask the reactor for read events, and deliver what a paused protocol has not got."""
        super().startReading()
        if (self._undelivered or self._read_result is not None) and self._on_ready is None:
            cast(IReactor, self.reactor).callLater(0, self._resume_delivery)

    def _resume_delivery(self) -> None:
        if not self.connected:
            return
        outcome = self._deliver()
        if outcome is not None:
            self._reading_ended(outcome)

    def _deliver(self) -> Exception | None:
        if self._undelivered and self._reading and self.connected:
            undelivered, self._undelivered = self._undelivered, b""
            self.protocol.dataReceived(undelivered)
        return self._read_result if self._reading else None

    # -- writing

    def doWrite(self) -> Any:
        """Send the encrypted bytes, then encrypt and send from the queue."""
        if self._cipher:
            problem = self._send_cipher()
            if problem is not None or self._cipher:
                return problem
        if self._on_ready is not None:
            self.stopWriting()
            return None
        return abstract.FileDescriptor.doWrite(self)

    def writeSomeData(self, data: bytes | memoryview) -> int | Exception:
        """Encrypt and send. Return the number of plain bytes whose encrypted form has been sent."""
        if self._cipher:
            problem = self._send_cipher()
            if problem is not None:
                return problem
            if self._cipher:
                return 0
        sent, total = self._encrypted, len(data)
        self._encrypted = 0
        try:
            while sent < total:
                chunk = data if not sent and total <= MAX_SLICE else memoryview(data)[sent : sent + MAX_SLICE]
                count = self._encrypt(chunk)
                self._cipher = self._outgoing.read()
                if sent + count < total:
                    count += self._encrypt(memoryview(data)[sent + count : sent + count + MAX_SLICE])
                    problem = self._send_with(self._outgoing.read())
                else:
                    problem = self._send_cipher()
                if problem is not None:
                    return problem
                if self._cipher:
                    self._encrypted = count
                    break
                sent += count
        except ssl.SSLError:
            return main.CONNECTION_LOST
        return sent

    def _send_cipher(self) -> Exception | None:
        cipher = self._cipher
        try:
            sent = self.socket.send(cipher)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return main.CONNECTION_LOST
        self._cipher = b"" if sent == len(cipher) else memoryview(cipher)[sent:]
        return None

    def _send_with(self, more: bytes) -> Exception | None:
        """Send the encrypted bytes and ``more`` in one system call, which costs as much as copying them."""
        ciphers = self._cipher, more
        try:
            sent = self.socket.sendmsg(ciphers)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return main.CONNECTION_LOST
        self._cipher = b"" if sent == sum(map(len, ciphers)) else memoryview(b"".join(ciphers))[sent:]
        return None

    def _send_control(self) -> Exception | None:
        """Send handshake messages and alerts, behind the encrypted bytes that wait already."""
        self._cipher = b"".join((self._cipher, self._outgoing.read()))
        problem = self._send_cipher() if self._cipher else None
        if self._cipher and problem is None:
            self.startWriting()
        return problem

    # -- closing

    def end(self, reason: str) -> None:
        """Abort the connection. The protocol and the log get ``reason``."""
        if not self.disconnected:
            self.failure_text = reason
            _log.info(
                "ended the connection with {peer}: {reason}", peer=address_text(self.getPeer()), reason=reason
            )
            self.abortConnection(reason)

    def _closeWriteConnection(self) -> None:
        if self._send_close_notify():
            super()._closeWriteConnection()
        else:
            self._writeDisconnected = False  # doWrite calls this method again

    def _postLoseConnection(self) -> Any:
        if self._reset_at_end:
            return super()._postLoseConnection()
        return main.CONNECTION_DONE if self._send_close_notify() else None

    def _send_close_notify(self) -> bool:
        """Send the close_notify alert; False while the socket does not take it."""
        if not self._close_notify_sent:
            self._close_notify_sent = True
            with contextlib.suppress(ssl.SSLError):  # the peer's close_notify has not come yet, as expected
                self._tls.unwrap()
        return self._send_control() is not None or not self._cipher

    def _shutdown_write(self) -> None:
        """Do nothing: close_notify ends this half, and TLS may still have to send responses on the socket."""

    def _close_socket(self, orderly: bool) -> None:
        if orderly and self._on_ready is None and not self._cipher:
            self._send_close_notify()
        StreamTransport._close_socket(self, orderly)


def describe_tls_failure(problem: ssl.SSLError) -> str:
    """Why a handshake failed, as a clause for a log line or an error."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {problem.verify_message}"
    if isinstance(problem, ssl.SSLEOFError | ssl.SSLSyscallError):
        return "the peer closed during the TLS handshake"
    if problem.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return "TLS handshake failed: the peer does not speak TLS"
    return f"TLS handshake failed: {_reason(problem)}"


def _reason(problem: ssl.SSLError) -> str:
    return (problem.reason or str(problem)).lower().replace("_", " ")


def common_name_of(certificate: dict[str, Any]) -> str | None:
    """The last common name in the subject of a certificate from `ssl.SSLObject.getpeercert`."""
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return names[-1] if names else None


def organizations_of(certificate: dict[str, Any]) -> list[str]:
    """The organizations (O) in a certificate's subject; Kubernetes uses them as groups."""
    return [
        value for part in certificate.get("subject", ()) for key, value in part if key == "organizationName"
    ]
