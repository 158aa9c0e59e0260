"""Reads that lite-apiserver makes for itself, with an identity of the node."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from superedge.errors import SuperEdgeError
from superedge.kube.media import JSON
from superedge.web.bounded import BoundedBody
from superedge.web.channels import SwitchedConnection
from superedge.web.client import H1Connection
from superedge.web.heads import Headers, ResponseHead, request_head
from superedge.web.pool import Pool

USER_AGENT = b"superedge-lite-apiserver"
MAX_BODY = 1024 * 1024
"""Bytes of the longest body that `read_body` takes."""


class ReadError(SuperEdgeError):
    """An answer that did not come to its end."""


class Refused(ReadError):
    """The API server answered with another status than the one of success."""

    def __init__(self, status: int, what: str = "") -> None:
        self.status = status
        super().__init__(f"{what}: status {status}" if what else f"status {status}")


class Sink(Protocol):
    """Takes a body, as the cache's recorders do."""

    def data(self, pieces: list[bytes]) -> None:
        """Some of the body."""

    def complete(self) -> None:
        """The body is whole."""

    def abort(self) -> None:
        """The body was cut short."""


class _Body:
    """A sink that keeps what comes, up to MAX_BODY bytes."""

    def __init__(self) -> None:
        self._body = BoundedBody(MAX_BODY)
        self.value: bytes | None = None
        """The whole body; None while it is not, and for one that is too long."""

    def data(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._body.add(piece)

    def complete(self) -> None:
        self.value = self._body.value

    def abort(self) -> None:
        pass


class _Receiver:
    """Gives the body to the sink that ``begin`` chooses by the head."""

    def __init__(self, begin: Callable[[ResponseHead], Sink | None]) -> None:
        self.done: Deferred[int] = Deferred()
        self._begin = begin
        self._sink: Sink | None = None
        self._status = 0

    def response(self, head: ResponseHead) -> None:
        if head.status >= 200:
            self._status = head.status
            self._sink = self._begin(head)

    def data(self, pieces: list[bytes]) -> None:
        if self._sink is not None:
            self._sink.data(pieces)

    def complete(self, trailers: Headers) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.complete()
        self.done.callback(self._status)

    def read_complete(self) -> None:
        pass

    def switched(self, connection: SwitchedConnection, rest: bytes) -> None:
        connection.abandon()
        self.failed("the server switched protocols unasked")

    def failed(self, reason: str) -> None:
        self.abort()
        if not self.done.called:
            self.done.errback(Failure(ReadError(reason)))

    def abort(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.abort()


async def read(
    pool: Pool,
    host: bytes,
    target: str,
    accept: str,
    begin: Callable[[ResponseHead], Sink | None],
    gzip: bool = False,
    authorization: bytes = b"",
    idle: bool = False,
    question: bytes = b"",
) -> int:
    """The status of a GET whose body ``begin``'s sink took. Cancellable. Raises ConnectError, ReadError.

    With a ``question``, in JSON, it is a POST of one that changes nothing.

    ``gzip`` says that the sink takes a body that is encoded so; ``authorization`` is a header, if any. With
    ``idle`` it goes over a connection that is there, if one is, and over a new one when that fails: it may
    have been closed a moment ago.
    """
    headers = [(b"Host", host), (b"Accept", accept.encode()), (b"User-Agent", USER_AGENT)]
    if gzip:
        headers.append((b"Accept-Encoding", b"gzip"))
    if authorization:
        headers.append((b"Authorization", authorization))
    if question:
        headers += [(b"Content-Type", JSON.encode()), (b"Content-Length", b"%d" % len(question))]
    head = request_head(b"POST" if question else b"GET", target.encode(), headers) + question
    if idle and (kept := pool.take_idle()) is not None:
        with contextlib.suppress(ReadError):
            return await _exchange(kept, head, begin)
    return await _exchange(await pool.connect(), head, begin)


async def _exchange(
    connection: H1Connection, head: bytes, begin: Callable[[ResponseHead], Sink | None]
) -> int:
    receiver = _Receiver(begin)
    connection.request(head, False, True, receiver)
    try:
        return await receiver.done
    except CancelledError:
        receiver.abort()
        connection.abandon()
        raise


async def read_body(
    pool: Pool,
    host: bytes,
    target: str,
    accept: str,
    authorization: bytes = b"",
    idle: bool = False,
    question: bytes = b"",
) -> bytes:
    """The body of a small answer; see `read`. Raises Refused for another status than 200, or 201 to a
    question.
    """
    body = _Body()
    wanted = 201 if question else 200

    def begin(head: ResponseHead) -> _Body | None:
        nonlocal body
        body = _Body()
        return body if head.status == wanted else None

    status = await read(
        pool, host, target, accept, begin, authorization=authorization, idle=idle, question=question
    )
    if status != wanted:
        raise Refused(status, target)
    if body.value is None:
        raise ReadError(f"{target}: more than {MAX_BODY} bytes")
    return body.value
