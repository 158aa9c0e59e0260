"""Forwards one HTTP request to a node's target, and its response back. Both bodies are streamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.net.splice import splice
from superedge.net.throttling import BandwidthLimit, ThrottledProducer
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.base import caller_name
from superedge.tunnel.listeners.http_request import Forwarded, response_headers
from superedge.tunnel.listeners.refusals import STATUS
from superedge.tunnel.listeners.upstreams import Target, Upstreams
from superedge.web.channels import SwitchedConnection
from superedge.web.client import H1Connection
from superedge.web.h1 import chunk, last_chunk
from superedge.web.heads import Headers, ResponseHead, response_head
from superedge.web.serverrequest import Request

_REPEATABLE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Methods that may be sent again when an idle connection turns out to be closed."""

_log = Logger()


def respond(request: Request, status: int, cause: str) -> None:
    """Respond with one sentence that gives the cause."""
    request.respond(status, [(b"Content-Type", b"text/plain; charset=utf-8")], cause.encode() + b"\n")


class Exchange:
    """Receives the request's body and the response; ``answered`` is called once, with the status."""

    def __init__(
        self,
        request: Request,
        forwarded: Forwarded,
        target: Target,
        upstreams: Upstreams,
        limits: tuple[BandwidthLimit | None, BandwidthLimit | None],
        answered: Callable[[int], None],
    ) -> None:
        self._request = request
        self._forwarded = forwarded
        self._target = target
        self._upstreams = upstreams
        self._limits = limits
        self._answered = answered
        self._throttled_body: ThrottledProducer | None = None
        self._throttled_response: ThrottledProducer | None = None
        self._connecting: Deferred[None] | None = None
        self._connection: H1Connection | None = None
        self._body_complete = not forwarded.has_body
        self._repeatable = request.head.method in _REPEATABLE and not forwarded.has_body
        self._started = False
        self._done = False
        self._retried = False
        self._interim_seen = False
        self._switch_head = b""

    # -- towards the target

    def begin(self) -> None:
        """Send the request, over an idle connection if there is one."""
        connection = self._upstreams.take_idle(self._target, self._repeatable)
        if connection is not None:
            self._send(connection)
        else:
            self._connect()

    def _connect(self) -> None:
        if self._body_complete:
            self._request.receive(self)  # a client that leaves gives the dial up
        else:
            self._request.pauseProducing()  # the body waits in the client's socket, not in this process
        self._connecting = self._upstreams.connect(
            self._target, caller_name(self._request.transport)
        ).addCallbacks(self._connected, self._not_connected)
        self._connecting.addErrback(self._failed_unexpectedly)

    def _connected(self, connection: H1Connection) -> None:
        self._connecting = None
        if self._request.finished:
            connection.abandon()
            return
        self._request.resumeProducing()
        self._send(connection)

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        if failure.check(CancelledError):
            return
        failure.trap(DialError)
        problem: Any = failure.value
        if not self._request.finished:
            self._refuse(STATUS[problem.code], f"{problem.code}: {problem.message}")

    def _failed_unexpectedly(self, failure: Failure) -> None:
        _log.failure("a request to {target} was dropped", failure, target=self._target)
        if not self._done:
            self._done = True
            self._request.abort()

    def _send(self, connection: H1Connection) -> None:
        self._connection = connection
        if not connection.usable:
            connection.abandon()
            self.failed("it sent something before it was asked")
            return
        if self._limits[1] is not None:
            self._throttled_response = ThrottledProducer(self._limits[1], connection.transport)
        forwarded = self._forwarded
        connection.request(forwarded.head, self._request.head.method == b"HEAD", not forwarded.has_body, self)
        if not self._body_complete:
            source: Any = self._request
            if self._limits[0] is not None:
                source = self._throttled_body = ThrottledProducer(self._limits[0], source)
            connection.transport.registerProducer(source, True)
        self._request.receive(self)

    # -- RequestReceiver

    def body(self, data: bytes) -> None:
        """A chunk of the request's body."""
        if self._connection is not None and not self._done:
            for piece in chunk([data]) if self._forwarded.chunked else (data,):
                self._connection.transport.write(piece)
            if self._throttled_body is not None:
                self._throttled_body.consumed(len(data))

    def body_end(self, trailers: Headers) -> None:
        """The request is complete."""
        connection = self._connection
        if connection is None or self._body_complete or self._done:
            return
        self._body_complete = True
        if self._forwarded.chunked:
            connection.transport.write(last_chunk([]))
        connection.transport.unregisterProducer()
        connection.request_sent()

    def client_lost(self) -> None:
        """The client has disconnected: abandon the request."""
        self._done = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abandon()

    # -- ResponseReceiver

    def response(self, head: ResponseHead) -> None:
        """The status and headers."""
        if head.status < 200:
            self._informational(head)
            return
        headers, bounded = response_headers(head.headers)
        request = self._request
        bounded = bounded or head.status in (204, 304) or request.head.method == b"HEAD"
        if request.head.upgrade or (self._forwarded.expects_continue and not self._interim_seen):
            request.close_after()  # what the client sends now is unknown
        self._started = True
        self._answered(head.status)
        request.start(head.status, head.reason, headers, bounded)

    def _informational(self, head: ResponseHead) -> None:
        if head.status == 101:
            self._switch_head = response_head(101, head.reason, head.headers)
        elif self._request.head.version == "1.1":
            self._interim_seen = True
            self._request.interim(response_head(head.status, head.reason, response_headers(head.headers)[0]))

    def data(self, pieces: list[bytes]) -> None:
        """Chunks of the body."""
        self._request.write(pieces)
        if self._throttled_response is not None:
            self._throttled_response.consumed(sum(map(len, pieces)))

    def read_complete(self) -> None:
        """Send on what came."""
        if (self._started or self._interim_seen) and not self._done:
            self._request.flush()
            if self._connection is not None:
                self._request.throttle(self._throttled_response or self._connection.transport)

    def complete(self, trailers: Headers) -> None:
        """The response is complete."""
        self._done = True
        connection = self._connection
        if not self._body_complete and connection is not None:
            # The response came before the end of the request: the connection cannot be reused.
            self._drop_connection()
        self._request.finish()

    def switched(self, connection: SwitchedConnection, rest: bytes) -> None:
        """The target speaks another protocol from here on: bytes go through as they are."""
        if not self._request.head.upgrade:
            connection.transport.abortConnection()
            self._refuse(502, "the target switched protocols without being asked")
            return
        self._done = True
        self._answered(101)
        early = self._request.hijack(self._switch_head)
        client: Any = self._request.transport
        if rest:
            client.write(rest)
        if early:
            connection.transport.write(early)
        splice(client, connection.transport, self._limits)

    def failed(self, reason: str) -> None:
        """The connection ended before the response did."""
        if self._done:
            return
        connection, self._connection = self._connection, None
        if self._started:
            self._done = True
            _log.info("a response of {target} was cut short: {reason}", target=self._target, reason=reason)
            self._request.abort()
            return
        stale = connection is not None and connection.used and not self._interim_seen
        if stale and self._repeatable and not self._retried:
            # The target closed the idle connection just as the request was sent.
            self._retried = True
            self._connect()
            return
        self._refuse(502, f"the target sent no complete response: {reason}")

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if not self._body_complete:
                connection.transport.unregisterProducer()
            connection.abandon()

    def _refuse(self, status: int, cause: str) -> None:
        self._done = True
        if not self._body_complete:
            self._request.close_after()
        self._answered(status)
        respond(self._request, status, cause)
