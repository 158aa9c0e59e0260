"""Sends one request to the cloud: over an idle connection, or else over a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from superedge.net.errors import ConnectError
from superedge.web.channels import ChannelSource, ResponseReceiver, UpstreamChannel
from superedge.web.heads import Headers
from superedge.web.serverrequest import RequestReceiver

if TYPE_CHECKING:
    from superedge.liteapiserver.forward.incoming import IncomingRequest
    from superedge.web.pool import Pool
    from superedge.web.serverrequest import Request


class RequestOwner(RequestReceiver, ResponseReceiver, Protocol):
    """Takes the client's body and the cloud's response."""

    def unreachable(self, reason: str) -> None:
        """There is no connection to the cloud, and nothing was sent."""

    def unexpected(self, failure: Failure) -> None:
        """Something else failed."""


class UpstreamRequest:
    """The request and the connection that carries it.

    One that can be sent twice is, if the server may have closed the idle connection meanwhile. Its owner is
    an argument: a reference to it would keep both in memory until the garbage collector runs.
    """

    __slots__ = (
        "_connecting",
        "_has_body",
        "_incoming",
        "_repeated",
        "_request",
        "_source",
        "connection",
    )

    def __init__(self, request: Request, incoming: IncomingRequest, pool: Pool) -> None:
        """``request`` is the client's, which feeds the owner with its body."""
        self._request = request
        self._incoming = incoming
        self._source: ChannelSource = pool.shared if incoming.shares and pool.shared is not None else pool
        self._connecting: Deferred[UpstreamChannel] | None = None
        self.connection: UpstreamChannel | None = None
        """What carries the request; None before it is sent and after the connection failed."""
        self._has_body = False
        """Whether some of the request's body is still to be sent."""
        self._repeated = False

    def begin(self, owner: RequestOwner) -> None:
        """Send the head, now or once there is a connection."""
        connection = self._source.take_idle(proven=not self._incoming.repeatable)
        if connection is not None:
            self._send(connection, owner)
        else:
            self._connect(owner)

    def _connect(self, owner: RequestOwner) -> None:
        # Until there is a connection the body waits in the client's socket.
        self._request.pauseProducing()
        connecting = self._connecting = self._source.connect()
        connecting.addCallbacks(self._connected, self._not_connected, (owner,), errbackArgs=(owner,))
        connecting.addErrback(owner.unexpected)

    def _connected(self, connection: UpstreamChannel, owner: RequestOwner) -> None:
        if self._connecting is None:  # dropped
            connection.abandon()
            return
        self._connecting = None
        self._request.resumeProducing()
        self._send(connection, owner)

    def _not_connected(self, failure: Failure, owner: RequestOwner) -> None:
        if failure.check(CancelledError):
            return
        connecting, self._connecting = self._connecting, None
        failure.trap(ConnectError)
        if connecting is not None:
            self._request.resumeProducing()
            owner.unreachable(failure.getErrorMessage())

    def _send(self, connection: UpstreamChannel, owner: RequestOwner) -> None:
        self.connection = connection
        outgoing = self._incoming.outgoing
        self._has_body = outgoing.has_body
        connection.begin(outgoing, owner)
        if self._has_body:
            connection.body_from(self._request)
        self._request.receive(owner)

    def body(self, data: bytes) -> None:
        """Send some of the body."""
        if self.connection is not None:
            self.connection.send(data)

    def body_end(self, trailers: Headers) -> None:
        """End the body."""
        if self.connection is not None and self._has_body:
            self._has_body = False
            self.connection.end(trailers)

    def answered(self) -> None:
        """The response is whole: send no more of the body."""
        if self._has_body and self.connection is not None:
            self.connection.give_up_body()

    def failed(self, owner: RequestOwner, may_repeat: bool) -> bool:
        """The connection failed; whether the request is sent again, as it ``may_repeat``."""
        connection, self.connection = self.connection, None
        stale = connection is not None and connection.used
        if not (may_repeat and stale and self._incoming.repeatable) or self._repeated:
            return False
        # The server closed the idle connection while the request was being written to it.
        self._repeated = True
        self._connect(owner)
        return True

    def give_up_if_silent(self, silent: float) -> None:
        """End it if there was no response for too long; ``silent`` is in seconds.

        To be called when a probe has shown since that new connections work.
        """
        connection = self.connection
        if connection is None or self._has_body:
            return
        timeout = self._incoming.response_timeout
        allowed = timeout.kept if connection.used and self._incoming.repeatable else timeout.new
        if silent > allowed:
            connection.give_up(f"no response within {silent:.0f} s, while new connections work")

    def drop(self) -> None:
        """Cancel it."""
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            self._request.resumeProducing()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()
