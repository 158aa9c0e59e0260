"""Whether a kubelet answers: over HTTP/2 with its compressed heads, which halves what a check costs.

It is asked without credentials, and any answer says that it is there. With a certificate it would ask the API
server who we are, which one that is cut off from the cloud cannot. One without HTTP/2 is asked by `web.py`.

Its certificate names its node, which may be another than the one that had the address before.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.config.addresses import TCPAddress
from superedge.health.edge.probes.web import MAX_IDLE, WebChecker, read_options
from superedge.interfaces import IHealthChecker, IReactor
from superedge.net.endpoints import ClientEndpoint, ContextSource
from superedge.net.errors import ConnectError
from superedge.net.factory import CallableFactory
from superedge.tls.contexts import ClientContextSource
from superedge.tls.peers import SecureConnection
from superedge.tls.x509 import parse_certificate
from superedge.web.h2frames import (
    ACK,
    ENABLE_PUSH,
    FRAME_SIZE,
    GOAWAY,
    HEAD,
    HEAD_SIZE,
    HEADERS,
    LARGEST_STREAM,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    header_block,
    settings,
)

ALPN = ("h2", "http/1.1")
NODE_USER = "system:node:"
MAX_ANSWER = 64 * 1024
"""Maximum bytes between one question and the next: a peer's server could send frames, or have them answered,
without end."""
FIRST = b"\x42\x04HEAD\x87\x84\x41\x07kubelet"
"""HEAD / of https://kubelet, of which method and authority are put into the peer's table (RFC 7541)."""
AGAIN = b"\xbf\x87\x84\xbe"
"""The same once they are there."""


def node_of(der: bytes) -> str | None:
    """The node that a kubelet's certificate names, None if it names none.

    The common name is system:node:NAME, or NAME@TIME in a certificate that the kubelet signed itself.
    """
    try:
        names = parse_certificate(der).common_names
    except ValueError:
        return None
    name = names[-1] if names else ""
    if name.startswith(NODE_USER):
        return name.removeprefix(NODE_USER)
    node, _, made = name.rpartition("@")
    return node if node and made.isdecimal() else None


class _Unverified:
    """Contexts that take any certificate: a kubelet signs its own, as a rule, and nothing is told to it."""

    def __init__(self) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._context.set_alpn_protocols(list(ALPN))

    def current(self) -> ssl.SSLContext:
        """The context for the next connection."""
        return self._context

    def admit(self, connection: SecureConnection) -> str:
        """Whoever it is."""
        return ""


class Answers:
    """What of a server's frames says that it answered. Pure."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> tuple[set[int], bytes]:
        """Streams that were answered, and what is to be sent back. Raises ConnectError."""
        self._buffer += data
        answered: set[int] = set()
        replies = []
        while len(self._buffer) >= HEAD_SIZE:
            high, low, kind, flags, stream = HEAD.unpack_from(self._buffer)
            size = high << 16 | low
            if size > FRAME_SIZE:
                raise ConnectError(f"a frame of {size} bytes")
            end = HEAD_SIZE + size
            if len(self._buffer) < end:
                break
            payload, self._buffer = self._buffer[HEAD_SIZE:end], self._buffer[end:]
            if kind == HEADERS:
                answered.add(stream)
            elif kind == SETTINGS and not flags & ACK:
                replies.append(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                replies.append(frame(PING, ACK, 0, payload))
            elif kind in (RST_STREAM, GOAWAY):
                raise ConnectError("the server ends the connection")
        return answered, b"".join(replies)


class _Connection(Protocol):
    """Asks one question at a time."""

    transport: Any

    def __init__(self) -> None:
        self._answers = Answers()
        self._taken = 0
        self._stream = -1
        self._asked: Deferred[None] | None = None
        self.usable = True
        self.node: str | None = None
        """Whose kubelet it is, as its certificate says."""

    def connectionMade(self) -> None:
        self.node = node_of(self.transport.peer_der())
        if self.transport.alpn == ALPN[0]:
            self.transport.write(PREFACE + settings({ENABLE_PUSH: 0}))

    def ask(self) -> Deferred[None]:
        """Fires with the answer; fails with ConnectError."""
        block = FIRST if self._stream < 0 else AGAIN
        self._stream += 2
        self._taken = 0
        self._asked = Deferred(lambda _: self.drop())
        self.transport.write(header_block(self._stream, block, True, FRAME_SIZE))
        return self._asked

    def drop(self) -> None:
        """Never again."""
        self.usable = False
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._taken += len(data)
        try:
            if self._taken > MAX_ANSWER:
                raise ConnectError(f"an answer of more than {MAX_ANSWER} bytes")
            answered, replies = self._answers.feed(data)
        except ConnectError as problem:
            self.drop()
            self._fail(problem)
            return
        if replies:
            self.transport.write(replies)
        asked = self._asked
        if self._stream in answered and asked is not None:
            self._asked = None
            if self._stream >= LARGEST_STREAM - 2:
                self.drop()
            asked.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.usable = False
        self._fail(ConnectError("the connection was lost"))

    def _fail(self, problem: ConnectError) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.called:
            asked.errback(Failure(problem))


@implementer(IHealthChecker)
class KubeletChecker:
    """With the option ``ca``, and ``server_name``, the kubelet's certificate is verified."""

    def __init__(self, reactor: IReactor, options: Mapping[str, Any]) -> None:
        """Raises ConfigError."""
        found = read_options("kubelet", {"host": "kubelet", **options})
        self._reactor = reactor
        self._tls: ContextSource = _Unverified()
        if found.ca:
            self._tls = ClientContextSource([Path(path) for path in found.ca], alpn=ALPN)
        self._name = found.server_name or None
        self._plain = WebChecker(reactor, found, self._tls, lambda status: True, b"HEAD")
        self._old: set[TCPAddress] = set()
        self._kept: dict[TCPAddress, _Connection] = {}

    async def check(self, host: str, port: int, timeout: float) -> str | None:
        """The node that its certificate names. Raises ConnectError."""
        address = TCPAddress(host, port)
        if address in self._old:
            return node_of((await self._plain.ask(host, port, timeout))[1])
        kept = self._kept.pop(address, None)
        if kept is not None and kept.usable:
            # One that was closed meanwhile says nothing of the kubelet.
            with contextlib.suppress(ConnectError):
                await kept.ask()
                self._keep(address, kept)
                return kept.node
        endpoint = ClientEndpoint(self._reactor, address, self._tls, self._name, timeout)
        made = cast(_Connection, await endpoint.connect(cast(Any, CallableFactory(_Connection))))
        if made.transport.alpn != ALPN[0]:
            made.drop()
            if len(self._old) < MAX_IDLE:
                self._old.add(address)
            return node_of((await self._plain.ask(host, port, timeout))[1])
        await made.ask()
        self._keep(address, made)
        return made.node

    def _keep(self, address: TCPAddress, connection: _Connection) -> None:
        if len(self._kept) >= MAX_IDLE:
            self._kept.pop(next(iter(self._kept))).drop()
        self._kept[address] = connection

    def close(self) -> None:
        """Close every connection."""
        self._plain.close()
        for connection in self._kept.values():
            connection.drop()
        self._kept.clear()
