"""The cloud's half of a prologue: send the request for a target, and wait for the answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from superedge.mux.errors import SessionClosed, StreamRefused
from superedge.mux.protocol import MuxConnection
from superedge.mux.stream import MuxStream
from superedge.tunnel.errors import DialError
from superedge.tunnel.messages import DialAnswer, DialRequest, MessageError, MessageReader, decode, encode

ANSWER_GRACE = 5.0
"""Seconds added to the dial's timeout for the answer's way through the tunnel."""

_CODES = frozenset({"refused", "timeout", "unresolvable", "denied", "limit", "internal", "not-connected"})


class _AnswerProtocol(Protocol):
    """Reads one answer, then pauses the stream and gives back the bytes behind it."""

    transport: Any

    def __init__(self) -> None:
        self._reader: MessageReader[DialAnswer] = MessageReader()
        self.answered: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        try:
            message = self._reader.feed(data)
            if message is None:
                return
            answer = decode(DialAnswer, message[0])
        except MessageError as problem:
            self._fail(DialError("internal", f"the node answered with {problem}"))
            return
        if answer.ok:
            self.transport.pauseProducing()
            self.transport.unread(message[1])
            self.answered.callback(None)
        else:
            code: Any = answer.code if answer.code in _CODES else "internal"
            self._fail(DialError(code, answer.message or "the node gave no reason"))

    def expire(self, timeout: float) -> None:
        """The answer did not come in time."""
        self._fail(DialError("timeout", f"no answer from the node within {timeout + ANSWER_GRACE:g} s"))

    def _fail(self, problem: Exception) -> None:
        if not self.answered.called:
            self.answered.errback(Failure(problem))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail(
            DialError("not-connected", f"the stream ended before an answer: {reason.getErrorMessage()}")
        )


async def dial(
    mux: MuxConnection,
    request: DialRequest,
    on_stream: Callable[[MuxStream], None] | None = None,
) -> MuxStream:
    """A paused stream, connected to the request's target. Raises DialError.

    ``on_stream`` is called with the stream at once. What it writes does not wait for the node's answer.
    """
    try:
        prologue = encode(request)
    except MessageError as problem:
        raise DialError("unresolvable", f"the target is too long: {problem}") from problem
    try:
        stream = mux.open()
    except StreamRefused as problem:
        raise DialError("limit", str(problem)) from problem
    except SessionClosed as problem:
        raise DialError("not-connected", str(problem)) from problem
    protocol = _AnswerProtocol()
    stream.connect(protocol)
    stream.write(prologue)
    if on_stream is not None:
        on_stream(stream)
    deadline = mux.deadlines.start(request.timeout + ANSWER_GRACE, partial(protocol.expire, request.timeout))
    try:
        await protocol.answered
    except BaseException:
        stream.abortConnection()
        raise
    finally:
        deadline.cancel()
    return stream
