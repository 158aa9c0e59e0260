"""TLS on the transports of `superedge.net.transport`.

The TLS engine (`ssl.SSLObject`) works on memory, this module moves bytes between it and the socket. An
``ssl.SSLSocket`` would do both, but reads while it ends its half of a connection, and drops what comes in
then. Large reads and writes also take fewer system calls than OpenSSL's record by record.
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
SLICE = 64 * 1024
"""Most bytes handed to the engine at once: its buffers keep the size they once had."""
INCOMING_SLICE = 48 * 1024
"""As SLICE, of what comes in: some of a record, at most 16 KiB, may wait in the same buffer."""
RECORDS = 256
"""Most records handed to it at once. Those without data of the peer's can cost more than any others."""
BARREN_RECORDS = 64
"""Most such records that a peer may send at once; it may send one more each second. Key updates are rare."""
SMALL_RECORD = 128
FEW = 16 * 1024
"""A peer whose records have fewer than SMALL_RECORD bytes is read from FEW bytes at a time: a record costs
the same however little it holds, and others have their turn."""

_DER = 2
"""What the module ssl calls ENCODING_DER from Python 3.13 on."""

# One reactor thread reads at a time and copies out before any callback, so all transports share them. A
# read can complete one record more than its own size.
_cipher_view = memoryview(bytearray(READ_SIZE))
_few_view = _cipher_view[:FEW]
_plain_view = memoryview(bytearray(READ_SIZE + 32 * 1024))
_log = Logger()


class TLSTransport(StreamTransport):
    """TLS on a connected socket; ``protocol`` is connected by ``on_ready`` after the handshake.

    ``failure_text`` says in one clause why TLS failed, None as long as it did not.
    """

    __slots__ = (
        "_barren",
        "_barren_at",
        "_cipher",
        "_early",
        "_end",
        "_incoming",
        "_notified",
        "_on_ready",
        "_outgoing",
        "_read_into",
        "_records",
        "_tls",
        "_under_way",
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
        """Dials when the name to expect of the server is given, else serves."""
        StreamTransport.__init__(self, sock, protocol, reactor, peer)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        self._read_into = cast(Any, self._tls)._sslobj.read
        self._on_ready: Callable[[], None] | None = on_ready
        self._cipher: bytes | memoryview = b""
        """Encrypted bytes that the socket did not take yet."""
        self._under_way = 0
        """Bytes at the head of the unsent data whose encrypted form is in ``_cipher``."""
        self._early = b""
        """What came with the handshake's last flight for a protocol that paused at once."""
        self._end: Exception | None = None
        """How reading ended, while a paused protocol was not told yet."""
        self._notified = False
        """The peer was told that we send no more."""
        self._records = RecordCounter()
        self._view = _cipher_view
        """What the next read fills."""
        self._barren, self._barren_at = 0.0, 0.0
        """Records without data that count against the peer, and when the last of them came."""
        self.failure_text: str | None = None

    # -- handshake

    def handshake(self, size: int = 0) -> Exception | None:
        """Go on with the handshake as far as the ``size`` bytes of ``_cipher_view`` that came in allow."""
        at = 0
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                if at == size:
                    self.startReading()
                    return self._send_control()
                stop, _ = self._records.take(_cipher_view, at, min(at + INCOMING_SLICE, size), 1)
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
        early, end = self._decrypt(at, size)
        self._early, self._end = bytes(_plain_view[:early]), end
        self.startReading()
        on_ready()
        return self._hand_over_early()

    def _failed(self, why: str) -> None:
        """Note the cause, which comes first: what is read of a lost connection fails again, for less."""
        self.failure_text = self.failure_text or why

    def peer_der(self) -> bytes:
        """The peer's certificate, DER; empty without one."""
        return self._tls.getpeercert(True) or b""

    def verified_chain(self) -> list[bytes]:
        """The peer's certificate and those up to the CA that is trusted, DER; empty on a resumed session."""
        # Public from Python 3.13 on, where the method that was there before gives the same.
        chain = cast(Any, self._tls)._sslobj.get_verified_chain() or ()
        return [each.public_bytes(_DER) for each in chain]

    # -- reading

    def doRead(self) -> Exception | None:
        """Decrypt what the socket has, up to READ_SIZE bytes, and hand it to the protocol."""
        if self._end is not None:
            return self._end
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
            return main.CONNECTION_LOST  # cut off: the peer did not say that this is the end
        count, end = self._decrypt(0, size)
        if count:
            self.protocol.dataReceived(bytes(_plain_view[:count]))
        if end is not None and not self._reading:
            self._end = end  # the protocol paused: for when it reads again
            return None
        return end

    def _decrypt(self, at: int, size: int) -> tuple[int, Exception | None]:
        """Decrypt ``_cipher_view[at:size]``: the count in ``_plain_view``, and the end if any."""
        incoming, read_into, done = self._incoming, self._read_into, 0
        end: Exception | None = None
        total = 0
        take = self._records.take
        while end is None:
            stop, whole = take(_cipher_view, at, min(at + INCOMING_SLICE, size), RECORDS)
            incoming.write(_cipher_view[at:stop])
            at = stop
            total += whole
            barren = whole or 1  # what is not whole may be no record at all: the engine tells
            try:
                while barren:
                    room = _plain_view[done:] if done else _plain_view
                    count = read_into(len(room), room)
                    if not count:
                        return done, main.CONNECTION_DONE
                    done += count
                    barren -= 1
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:  # the peer's end after ours; before ours it is an empty read
                return done, main.CONNECTION_DONE
            except ssl.SSLError as problem:
                # In TLS 1.3 a server's verdict on our certificate arrives after the handshake.
                self._failed(f"TLS failed: {_reason(problem)}")
                end = main.CONNECTION_LOST
            if barren and whole and self._too_many(barren):
                self._failed("the peer sends too many TLS records without data")
                end = main.CONNECTION_LOST
            if at == size:
                break
        self._view = _few_view if total > RECORDS and total * SMALL_RECORD > size else _cipher_view
        if self._outgoing.pending:  # an answer to a key update, or an alert
            self._send_control()
        return done, end

    def _too_many(self, barren: int) -> bool:
        """Whether so many records without data are more than a peer may send."""
        now = cast(IReactor, self.reactor).seconds()
        self._barren = max(0.0, self._barren - (now - self._barren_at)) + barren
        self._barren_at = now
        return self._barren > BARREN_RECORDS

    def startReading(self) -> None:
        """Ask the reactor for read events, and tell what a paused protocol was not told."""
        super().startReading()
        if (self._early or self._end is not None) and self._on_ready is None:
            cast(IReactor, self.reactor).callLater(0, self._tell)

    def _tell(self) -> None:
        if not self.connected:
            return
        outcome = self._hand_over_early()
        if outcome is not None:
            self._reading_ended(outcome)

    def _hand_over_early(self) -> Exception | None:
        if self._early and self._reading and self.connected:
            early, self._early = self._early, b""
            self.protocol.dataReceived(early)
        return self._end if self._reading else None

    # -- writing

    def doWrite(self) -> Any:
        """Send what is encrypted, then what is not yet."""
        if self._cipher:
            problem = self._send_cipher()
            if problem is not None or self._cipher:
                return problem
        if self._on_ready is not None:
            self.stopWriting()
            return None
        return abstract.FileDescriptor.doWrite(self)

    def writeSomeData(self, data: bytes | memoryview) -> int | Exception:
        """Encrypt and send; the number of bytes whose encrypted form has left."""
        if self._cipher:
            problem = self._send_cipher()
            if problem is not None:
                return problem
            if self._cipher:
                return 0
        sent, total = self._under_way, len(data)
        self._under_way = 0
        try:
            while sent < total:
                piece = data if not sent and total <= SLICE else memoryview(data)[sent : sent + SLICE]
                count = self._tls.write(piece)
                self._cipher = self._outgoing.read()
                problem = self._send_cipher()
                if problem is not None:
                    return problem
                if self._cipher:
                    self._under_way = count
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

    def _send_control(self) -> Exception | None:
        """Send what TLS itself has to say, behind what waits already."""
        self._cipher = b"".join((self._cipher, self._outgoing.read()))
        problem = self._send_cipher() if self._cipher else None
        if self._cipher and problem is None:
            self.startWriting()
        return problem

    # -- closing

    def end(self, reason: str) -> None:
        """Drop the connection, for a reason that its protocol and the log are told."""
        if not self.disconnected:
            self.failure_text = reason
            _log.info(
                "ended the connection with {peer}: {reason}", peer=address_text(self.getPeer()), reason=reason
            )
            self.abortConnection(reason)

    def _closeWriteConnection(self) -> None:
        if self._notify():
            super()._closeWriteConnection()
        else:
            self._writeDisconnected = False  # doWrite comes here again

    def _postLoseConnection(self) -> Any:
        if self._reset_at_end:
            return super()._postLoseConnection()
        return main.CONNECTION_DONE if self._notify() else None

    def _notify(self) -> bool:
        """Tell the peer that we send no more; False while the socket does not take it."""
        if not self._notified:
            self._notified = True
            with contextlib.suppress(ssl.SSLError):  # that the peer's own end has not come is expected
                self._tls.unwrap()
        return self._send_control() is not None or not self._cipher

    def _shutdown_write(self) -> None:
        """The notice is the end: the socket stays whole for what TLS may still have to say."""

    def _close_socket(self, orderly: bool) -> None:
        if orderly and self._on_ready is None and not self._cipher:
            self._notify()
        StreamTransport._close_socket(self, orderly)


def describe_tls_failure(problem: ssl.SSLError) -> str:
    """Why a handshake failed: one clause for a log line or an error."""
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
    """The last CN of a certificate's subject as `ssl.SSLObject.getpeercert` gives it."""
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return names[-1] if names else None


def organizations_of(certificate: dict[str, Any]) -> list[str]:
    """The O values of a certificate's subject: groups, in Kubernetes."""
    return [
        value for part in certificate.get("subject", ()) for key, value in part if key == "organizationName"
    ]
