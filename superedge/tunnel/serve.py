"""The edge's half of a prologue: read what is asked for, dial it, splice."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import msgspec
from twisted.internet.defer import CancelledError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.tunnel import LimitsConfig
from superedge.interfaces import IReactor, IStreamHandler
from superedge.mux.stream import MuxStream
from superedge.net.connecting import connect_nearby
from superedge.net.deadlines import Deadline
from superedge.net.endpoints import ClientEndpoint, ContextSource
from superedge.net.errors import ConnectError, ConnectTimeout, ResolveError
from superedge.net.resolve import resolve
from superedge.net.splice import Splice
from superedge.net.task import Task
from superedge.net.transport import StreamTransport, peer_of
from superedge.tunnel import metrics
from superedge.tunnel.allow import AllowList
from superedge.tunnel.errors import DialError
from superedge.tunnel.messages import DialAnswer, DialRequest, MessageError, MessageReader, decode, encode

MAX_DIAL_TIMEOUT = 60.0

_log = Logger()


class _Placeholder(Protocol):
    """Holds a target's transport, paused, until the splice takes it."""

    def connectionMade(self) -> None:
        cast(Any, self.transport).pauseProducing()


class _Targets(Factory):
    protocol = _Placeholder
    noisy = False


@implementer(IPlugin, IStreamHandler)
class TCPHandler:
    """Streams of kind ``tcp``: dials what the allow list names."""

    kind = "tcp"

    def __init__(self, allow: AllowList) -> None:
        self._allow = allow
        self._literal = lru_cache(maxsize=1024)(self._allowed_literal)

    async def connect(self, reactor: IReactor, request: Mapping[str, Any], timeout: float) -> Any:
        """A paused transport connected to ``request["address"]``. Raises DialError."""
        text = request["address"]
        literal = self._literal(text)
        targets = await self._resolved(reactor, text) if literal is None else (literal,)
        try:
            for target in targets[:-1]:
                with contextlib.suppress(ConnectError):
                    return await self._dial(reactor, target, text, timeout / len(targets))
            return await self._dial(reactor, targets[-1], text, timeout)
        except ConnectTimeout as problem:
            raise DialError("timeout", str(problem)) from problem
        except ConnectError as problem:
            raise DialError("refused", str(problem)) from problem

    async def _dial(self, reactor: IReactor, target: TCPAddress, asked: str, timeout: float) -> Any:
        sock = await connect_nearby(reactor, target, timeout)
        # The transport does not read before it has a protocol of its own.
        return StreamTransport(sock, Protocol(), reactor, peer_of(sock))

    def _allowed_literal(self, text: str) -> TCPAddress | None:
        """The address, when it is an IP literal that the allow list covers."""
        try:
            address = parse_address(text)
            covered = isinstance(address, TCPAddress) and self._allow.allows_address(address)
        except ValueError:
            return None
        return cast(TCPAddress, address) if covered else None

    async def _resolved(self, reactor: IReactor, text: str) -> Sequence[TCPAddress]:
        """What may be dialled for ``text``: the checked addresses themselves, never the name again."""
        try:
            address = parse_address(text)
        except ValueError as problem:
            raise DialError("denied", str(problem)) from problem
        if not isinstance(address, TCPAddress):
            raise DialError("denied", f"{text} is not host:port")
        by_name = self._allow.allows_name(address)
        try:
            hosts = await resolve(reactor, address.host)
        except ResolveError as problem:
            raise DialError("unresolvable", str(problem)) from problem
        found = [TCPAddress(host, address.port) for host in hosts]
        targets = [target for target in found if by_name or self._allow.allows_address(target)]
        if not targets:
            raise DialError("denied", f"the node's allow list does not name {text}")
        return targets


class TLSHandler(TCPHandler):
    """Streams of kind ``tls``: the node speaks TLS to the target, the stream carries what is inside."""

    kind = "tls"

    def __init__(self, allow: AllowList, tls: ContextSource, server_name: str) -> None:
        """``server_name`` is what targets' certificates must carry; empty for the host asked for."""
        super().__init__(allow)
        self._tls = tls
        self._server_name = server_name

    async def _dial(self, reactor: IReactor, target: TCPAddress, asked: str, timeout: float) -> Any:
        name = self._server_name or asked.rpartition(":")[0].strip("[]")
        endpoint = ClientEndpoint(reactor, target, self._tls, name, timeout)
        protocol: Any = await endpoint.connect(cast(Any, _Targets()))
        return protocol.transport


class StreamServer:
    """Serves the streams of one session."""

    end = "edge"
    """The metrics' label."""
    request: type[DialRequest] = DialRequest
    """What a prologue is."""

    def __init__(self, reactor: IReactor, handlers: Mapping[str, Any], limits: LimitsConfig) -> None:
        self._reactor = reactor
        self._handlers = handlers
        self._limits = limits
        self._pending = 0
        self._dial_seconds = metrics.DIAL_SECONDS.labels(self.end)

    def accept(self, stream: MuxStream) -> None:
        """Read the stream's prologue and do as it says."""
        stream.connect(_PrologueProtocol(self, self._limits.prologue_timeout))

    async def serve(self, stream: MuxStream, body: bytes, rest: bytes) -> None:
        """A prologue is complete: splice the stream to what it asks for, or refuse it."""
        address = ""
        try:
            request = decode(self.request, body)
            address = request.address
            target = await self._connect(request)
        except DialError as problem:
            self._refuse(stream, address, problem)
        except MessageError as problem:
            self._refuse(stream, address, DialError("internal", str(problem)))
        except CancelledError:
            raise
        except Exception:
            _log.failure("dialling {address} failed", address=address)
            self._refuse(
                stream, address, DialError("internal", "the node's handler failed; its log says why")
            )
        else:
            pair = Splice()
            target.protocol = pair.right
            pair.right.makeConnection(target)
            stream.write(encode(DialAnswer(ok=True)))
            stream.unread(rest)
            stream.protocol = pair.left
            pair.left.makeConnection(stream)

    async def _connect(self, request: DialRequest) -> Any:
        handler = self._handlers.get(request.kind)
        if handler is None:
            raise DialError("denied", f"this node serves no streams of kind {request.kind!r}")
        if self._pending >= self._limits.pending_dials:
            raise DialError("limit", f"{self._pending} dials are under way on this node")
        timeout = min(max(request.timeout, 0.1), MAX_DIAL_TIMEOUT)
        started = self._reactor.seconds()
        self._pending += 1
        try:
            target = await handler.connect(self._reactor, msgspec.structs.asdict(request), timeout)
        finally:
            self._pending -= 1
        self._dial_seconds.observe(self._reactor.seconds() - started)
        return target

    def _refuse(self, stream: MuxStream, address: str, problem: DialError) -> None:
        metrics.DIAL_FAILURES.labels(self.end, problem.code).inc()
        _log.warn(
            "dial of {address} failed: {code}: {reason}",
            address=address,
            code=problem.code,
            reason=problem.message,
        )
        stream.write(encode(DialAnswer(ok=False, code=problem.code, message=problem.message)))
        stream.loseConnection()


class _PrologueProtocol(Protocol):
    """Collects a prologue within its time, pauses the stream and hands it over."""

    transport: Any
    _deadline: Deadline

    def __init__(self, server: StreamServer, timeout: float) -> None:
        self._reader: MessageReader[DialRequest] = MessageReader()
        self._server = server
        self._timeout = timeout
        self._serving: Task | None = None

    def connectionMade(self) -> None:
        self._deadline = self.transport.deadlines.begin(self._timeout, self._timed_out)

    def _timed_out(self) -> None:
        _log.warn("stream {id} was reset: no prologue in time", id=self.transport.id)
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        try:
            message = self._reader.feed(data)
        except MessageError as problem:
            _log.warn("stream {id} was reset: {reason}", id=self.transport.id, reason=str(problem))
            self.transport.abortConnection()
            return
        if message is None:
            return
        self._deadline.met()
        self.transport.pauseProducing()
        self._serving = Task(self._server.serve(self.transport, *message), self._failed)

    def _failed(self, failure: Failure) -> None:
        _log.failure("stream {id} was reset", failure, id=self.transport.id)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._deadline.met()
        if self._serving is not None:
            self._serving.cancel()
