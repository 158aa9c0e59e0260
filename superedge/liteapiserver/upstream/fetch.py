"""Requests that lite-apiserver makes itself, with an identity of the node."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from superedge.errors import SuperEdgeError
from superedge.kube.media import JSON
from superedge.web.bounded import BoundedBody
from superedge.web.channels import SwitchedConnection
from superedge.web.client import H1Connection
from superedge.web.heads import Headers, ResponseHead, request_head
from superedge.web.pool import Pool

USER_AGENT = b"superedge-lite-apiserver"
KEPT_TIMEOUT = 2.0
"""Seconds without a response after which a kept connection is given up: callers wait for these requests."""
MAX_BODY = 1024 * 1024
"""Bytes of the longest body that `fetch_body` takes by default."""


class FetchError(SuperEdgeError):
    """A response that could not be read to its end."""


class UnexpectedStatus(FetchError):
    """A response with a status other than the expected one."""

    def __init__(self, status: int, what: str = "") -> None:
        self.status = status
        super().__init__(f"{what}: status {status}" if what else f"status {status}")


class Sink(Protocol):
    """Takes a response's body; the cache's recorders are sinks."""

    def data(self, chunks: list[bytes]) -> None:
        """Some of the body."""

    def complete(self) -> None:
        """The body is whole."""

    def abort(self) -> None:
        """The body was cut short."""


class _Body:
    """A sink that keeps up to ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._body = BoundedBody(limit)
        self.value: bytes | None = None
        """The whole body; None before its end, and for a body that is too long."""

    def data(self, chunks: list[bytes]) -> None:
        for chunk in chunks:
            self._body.add(chunk)

    def complete(self) -> None:
        self.value = self._body.value

    def abort(self) -> None:
        pass


class _Receiver:
    """Gives the body to the sink that ``begin`` chooses by the response's head."""

    def __init__(self, begin: Callable[[ResponseHead], Sink | None]) -> None:
        self.done: Deferred[int] = Deferred()
        self._begin = begin
        self._sink: Sink | None = None
        self._status = 0
        self.begun = False

    def response(self, head: ResponseHead) -> None:
        self.begun = True
        if head.status >= 200:
            self._status = head.status
            self._sink = self._begin(head)

    def data(self, chunks: list[bytes]) -> None:
        if self._sink is not None:
            self._sink.data(chunks)

    def complete(self, trailers: Headers) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.complete()
        self.done.callback(self._status)

    def read_complete(self) -> None:
        pass

    def switched(self, connection: SwitchedConnection, rest: bytes) -> None:
        connection.abandon()
        self.failed("the server switched protocols without being asked to")

    def failed(self, reason: str) -> None:
        self.abort()
        if not self.done.called:
            self.done.errback(Failure(FetchError(reason)))

    def abort(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.abort()


async def fetch(
    pool: Pool,
    host: bytes,
    target: str,
    accept: str,
    begin: Callable[[ResponseHead], Sink | None],
    gzip: bool = False,
    authorization: bytes = b"",
    idle: bool = False,
    review: bytes = b"",
) -> int:
    """Send a GET and return its status; ``begin`` chooses the sink of the body. Cancellable.

    With ``review``, a review object in JSON, it is a POST, which changes nothing in the cloud. ``gzip`` says
    that the sink decodes gzip; ``authorization`` is that header, empty for none. With ``idle`` an idle
    connection is tried first, and a new one if that fails or stays silent, since the server may just have
    closed it or be gone. Raises ConnectError, FetchError.
    """
    headers = [(b"Host", host), (b"Accept", accept.encode()), (b"User-Agent", USER_AGENT)]
    if gzip:
        headers.append((b"Accept-Encoding", b"gzip"))
    if authorization:
        headers.append((b"Authorization", authorization))
    if review:
        headers += [(b"Content-Type", JSON.encode()), (b"Content-Length", b"%d" % len(review))]
    head = request_head(b"POST" if review else b"GET", target.encode(), headers) + review
    if idle and (kept := pool.take_idle()) is not None:
        with contextlib.suppress(FetchError):
            return await _exchange(kept, head, begin, pool.reactor)
    return await _exchange(await pool.connect(), head, begin)


async def _exchange(
    connection: H1Connection,
    head: bytes,
    begin: Callable[[ResponseHead], Sink | None],
    reactor: IReactorTime | None = None,
) -> int:
    """Send a request. With ``reactor``, give the connection up after KEPT_TIMEOUT without a response."""
    receiver = _Receiver(begin)

    def give_up() -> None:
        if not receiver.begun:
            connection.give_up(f"no response within {KEPT_TIMEOUT:g} s")

    patience = None if reactor is None else reactor.callLater(KEPT_TIMEOUT, give_up)
    connection.request(head, False, True, receiver)
    try:
        return await receiver.done
    except CancelledError:
        receiver.abort()
        connection.abandon()
        raise
    finally:
        if patience is not None and patience.active():
            patience.cancel()


async def fetch_body(
    pool: Pool,
    host: bytes,
    target: str,
    accept: str,
    authorization: bytes = b"",
    idle: bool = False,
    review: bytes = b"",
    limit: int = MAX_BODY,
) -> bytes:
    """The body of a response of at most ``limit`` bytes; the other arguments are those of `fetch`.

    Raises UnexpectedStatus for a status other than 200, or 201 to a ``review``; and as `fetch`.
    """
    body = _Body(limit)
    wanted = 201 if review else 200

    def begin(head: ResponseHead) -> _Body | None:
        nonlocal body
        body = _Body(limit)
        return body if head.status == wanted else None

    status = await fetch(
        pool, host, target, accept, begin, authorization=authorization, idle=idle, review=review
    )
    if status != wanted:
        raise UnexpectedStatus(status, target)
    if body.value is None:
        raise FetchError(f"{target}: the response has more than {limit} bytes")
    return body.value
