"""Interfaces between a request and the connection that carries it.

A `ChannelSource` provides channels, an `UpstreamChannel` carries one request, a `ResponseReceiver` takes its
response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from superedge.web.heads import Headers, OutgoingRequest, ResponseHead


class SwitchedConnection(Protocol):
    """A connection to a server that speaks another protocol since its 101 response."""

    transport: Any
    lost: Callable[[Any], None] | None
    """Called with the connection when its pool is to forget it."""

    def abandon(self) -> None:
        """Abort the connection."""


class ResponseReceiver(Protocol):
    """Takes the response to one request."""

    def response(self, head: ResponseHead) -> None:
        """Take the status and headers. Informational responses (1xx) come here, too."""

    def data(self, chunks: list[bytes]) -> None:
        """Take consecutive chunks of the body."""

    def complete(self, trailers: Headers) -> None:
        """The response is complete. Called before the connection is used again."""

    def read_complete(self) -> None:
        """Everything that one read from the socket brought has been delivered: flush what was collected."""

    def switched(self, connection: SwitchedConnection, rest: bytes) -> None:
        """After a 101: take over the connection; ``rest`` are the bytes that followed the head."""

    def failed(self, reason: str) -> None:
        """The connection ended before the response did, or its bytes were not HTTP."""


class UpstreamChannel(Protocol):
    """Carries one request and its response: an HTTP/1.1 connection, or a stream of an HTTP/2 connection."""

    used: bool
    """Whether the server may have closed the connection before it read the request, as with an idle one."""

    @property
    def producer(self) -> Any:
        """The producer of the response's body; pausing it makes the server wait."""

    def begin(self, request: OutgoingRequest, receiver: ResponseReceiver) -> None:
        """Send a request's head. The body follows through `send` and `end`."""

    def body_from(self, producer: Any) -> None:
        """Pause ``producer``, which feeds `send`, while the server accepts no more of the body."""

    def send(self, data: bytes) -> None:
        """Send part of the request's body."""

    def end(self, trailers: Headers) -> None:
        """End the request's body."""

    def give_up_body(self) -> None:
        """Stop sending the request's body: its response is complete already."""

    def give_up(self, reason: str) -> None:
        """Fail the request: the path to the server is taken for dead."""

    def abandon(self) -> None:
        """Cancel the request; its receiver hears nothing more."""


class ChannelSource(Protocol):
    """Provides channels to one set of servers."""

    def take_idle(self, proven: bool = False) -> UpstreamChannel | None:
        """An existing channel, to be used at once; None when there is none.

        With ``proven`` the server must have been heard from within the last seconds. Use it for requests that
        cannot be sent twice.
        """

    def connect(self) -> Deferred[Any]:
        """A new channel. Fails with ConnectError after every server was tried. Cancellable."""


class SharedConnections(ChannelSource, Protocol):
    """HTTP/2 connections, whose streams are channels. A `Pool` with the same identity owns them."""

    def probe(self) -> None:
        """See `Pool.probe`."""

    def close_idle(self, before: float | None = None) -> None:
        """See `Pool.close_idle`. Without ``before``, busy connections take no new streams."""

    def replace(self, bound: float) -> None:
        """See `Pool.replace`."""

    def abort(self) -> None:
        """See `Pool.abort`."""
