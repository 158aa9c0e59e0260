"""The edge's half of a prologue: read it, connect to the target with a handler, and splice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.config.tunnel import LimitsConfig
from superedge.errors import SuperEdgeError
from superedge.interfaces import IReactor
from superedge.mux.stream import MuxStream
from superedge.net.splice import Splice
from superedge.reactor.deadlines import Deadline
from superedge.reactor.task import Task
from superedge.tunnel import metrics
from superedge.tunnel.dialslots import DialSlots
from superedge.tunnel.errors import DialError
from superedge.tunnel.messages import DialAnswer, DialRequest, MessageError, MessageReader, decode, encode

MAX_DIAL_TIMEOUT = 60.0
MAX_REASON = 500
"""Longest text of a refusal, in characters: it may repeat the peer's request."""

_log = Logger()


class StreamServer:
    """Serves the streams of one session."""

    end = "edge"
    """The metrics' label."""
    request: type[DialRequest] = DialRequest
    """The type of a prologue."""

    def __init__(self, reactor: IReactor, handlers: Mapping[str, Any], limits: LimitsConfig) -> None:
        self._reactor = reactor
        self._handlers = handlers
        self._limits = limits
        self._pending = DialSlots(limits.pending_dials)
        self._dial_seconds = metrics.DIAL_SECONDS.labels(self.end)

    def accept(self, stream: MuxStream) -> None:
        """Read the stream's prologue, and serve it."""
        stream.connect(_PrologueProtocol(self, self._limits.prologue_timeout))

    async def serve(self, stream: MuxStream, body: bytes, rest: bytes) -> None:
        """The prologue is complete: splice the stream to its target, or refuse it."""
        address = ""
        try:
            request = decode(self.request, body)
            address = request.address
            target = await self._connect(request)
        except DialError as problem:
            self._refuse(stream, address, problem)
        except SuperEdgeError as problem:
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
        timeout = min(max(request.timeout, 0.1), MAX_DIAL_TIMEOUT)
        started = self._reactor.seconds()
        self._pending.acquire(request.address, request.caller)
        try:
            target = await handler.connect(self._reactor, msgspec.structs.asdict(request), timeout)
        finally:
            self._pending.release(request.address, request.caller)
        self._dial_seconds.observe(self._reactor.seconds() - started)
        return target

    def _refuse(self, stream: MuxStream, address: str, problem: DialError) -> None:
        metrics.DIAL_FAILURES.labels(self.end, problem.code).inc()
        reason = problem.message[:MAX_REASON]
        _log.warn(
            "dial of {address} failed: {code}: {reason}",
            address=address[:MAX_REASON],
            code=problem.code,
            reason=reason,
        )
        stream.write(encode(DialAnswer(ok=False, code=problem.code, message=reason)))
        stream.loseConnection()


class _PrologueProtocol(Protocol):
    """Reads a prologue, for a bounded time; then pauses the stream and serves it."""

    transport: Any
    _deadline: Deadline

    def __init__(self, server: StreamServer, timeout: float) -> None:
        self._reader: MessageReader[DialRequest] = MessageReader()
        self._server = server
        self._timeout = timeout
        self._serving: Task | None = None

    def connectionMade(self) -> None:
        self._deadline = self.transport.deadlines.start(self._timeout, self._timed_out)

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
        self._deadline.cancel()
        self.transport.pauseProducing()
        self._serving = Task(self._server.serve(self.transport, *message), self._failed)

    def _failed(self, failure: Failure) -> None:
        _log.failure("stream {id} was reset", failure, id=self.transport.id)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._deadline.cancel()
        if self._serving is not None:
            self._serving.cancel()
