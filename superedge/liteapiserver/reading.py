"""Reads that lite-apiserver makes for itself, with an identity of the node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from superedge.errors import SuperEdgeError
from superedge.web.client import Pool, UpstreamConnection
from superedge.web.heads import Headers, ResponseHead, request_head

USER_AGENT = b"superedge-lite-apiserver"


class ReadError(SuperEdgeError):
    """An answer that did not come to its end."""


class Refused(ReadError):
    """The API server answered with another status than 200."""

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


class Body:
    """A sink that keeps what comes, up to ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self.value: bytes | None = None
        """The whole body; None while it is not, and for one that is too long."""

    def data(self, pieces: list[bytes]) -> None:
        """Some of the body."""
        if sum(map(len, self._pieces)) <= self._limit:
            self._pieces += pieces

    def complete(self) -> None:
        """The body is whole."""
        body = b"".join(self._pieces)
        self.value = body if len(body) <= self._limit else None

    def abort(self) -> None:
        """The body was cut short."""


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

    def round_done(self) -> None:
        pass

    def switched(self, connection: UpstreamConnection, rest: bytes) -> None:
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
) -> int:
    """The status of a GET whose body ``begin``'s sink took. Cancellable. Raises ConnectError, ReadError.

    ``gzip`` says that the sink takes a body that is encoded so; ``authorization`` is a header, if any. With
    ``idle`` it goes over a connection that is there, if one is: it may have been closed a moment ago.
    """
    receiver = _Receiver(begin)
    connection = (pool.take_idle() if idle else None) or await pool.connect()
    headers = [(b"Host", host), (b"Accept", accept.encode()), (b"User-Agent", USER_AGENT)]
    if gzip:
        headers.append((b"Accept-Encoding", b"gzip"))
    if authorization:
        headers.append((b"Authorization", authorization))
    connection.request(request_head(b"GET", target.encode(), headers), False, True, receiver)
    try:
        return await receiver.done
    except CancelledError:
        receiver.abort()
        connection.abandon()
        raise
