"""What a request goes over to a server, where such channels come from, and who takes the response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred

from superedge.web.heads import Headers, OutgoingRequest, ResponseHead

if TYPE_CHECKING:
    from superedge.web.client import UpstreamConnection


class ResponseReceiver(Protocol):
    """Who takes a response."""

    def response(self, head: ResponseHead) -> None:
        """The status and headers, informational ones (1xx) included."""

    def data(self, pieces: list[bytes]) -> None:
        """Pieces of the body."""

    def complete(self, trailers: Headers) -> None:
        """The response is whole. Called before the connection is used again."""

    def round_done(self) -> None:
        """All that came in one piece has been told: the moment to send it on."""

    def switched(self, connection: UpstreamConnection, rest: bytes) -> None:
        """After a 101: the connection is the receiver's; ``rest`` came behind the head."""

    def failed(self, reason: str) -> None:
        """The connection ended before the response did, or what it brought was no HTTP."""


class UpstreamChannel(Protocol):
    """What one request goes over and its response comes back: a connection, or a stream of a shared one."""

    used: bool
    """Whether the server may have given it up before it saw the request."""

    @property
    def producer(self) -> Any:
        """Where the response's body comes from: paused, it stops the server."""

    def begin(self, request: OutgoingRequest, receiver: ResponseReceiver) -> None:
        """Send a request's head. Its body follows by `send` and `end`."""

    def body_from(self, producer: Any) -> None:
        """Pause ``producer``, whose pieces are given to `send`, while the server takes none."""

    def send(self, data: bytes) -> None:
        """A piece of the request's body."""

    def end(self, trailers: Headers) -> None:
        """The request's body is complete."""

    def give_up_body(self) -> None:
        """The response is whole, and the rest of the request is not wanted."""

    def give_up(self, reason: str) -> None:
        """The way to the server is taken for dead."""

    def abandon(self) -> None:
        """The response is no longer wanted."""


class ChannelSource(Protocol):
    """Where channels come from."""

    def take_idle(self, proven: bool = False) -> UpstreamChannel | None:
        """One that is there, to be used at once, if there is one.

        With ``proven``, only one whose server was heard of a moment ago: for what cannot be sent twice.
        """

    def connect(self) -> Deferred[Any]:
        """One that has to be made; fails with ConnectError after every server was tried. Cancellable."""


class SharedConnections(ChannelSource, Protocol):
    """Connections whose streams are channels, beside a `Pool` of the same identity."""

    def question(self) -> None:
        """As `Pool.question`."""

    def close_idle(self, before: float | None = None) -> None:
        """As `Pool.close_idle`; without ``before``, busy ones are not used for more."""

    def replace(self, bound: float) -> None:
        """As `Pool.replace`."""

    def abort(self) -> None:
        """As `Pool.abort`."""
