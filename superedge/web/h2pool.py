"""Connections that many requests of one identity share, where the server offers HTTP/2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.interfaces import IReactor
from superedge.net.endpoints import ContextSource
from superedge.net.errors import ConnectError
from superedge.reactor.delayedcalls import DelayedCalls
from superedge.web.channels import UpstreamChannel
from superedge.web.client import UpstreamConnection
from superedge.web.pool import Pool, bound_unacknowledged, is_proven

if TYPE_CHECKING:
    from superedge.web.h2client import H2Connection

OFFERED = ("h2", "http/1.1")
"""What to offer by ALPN."""
PLAIN_FOR = 60.0
"""Seconds for which a server that did not take HTTP/2 is not offered it again."""
SETTINGS_TIMEOUT = 3.0
"""Seconds that a server that chose HTTP/2 has to begin with it."""

_log = Logger()


class _Chooser(Protocol):
    """Becomes the protocol that the server chose."""

    chosen: H2Connection | UpstreamConnection

    def __init__(self, pool: StreamPool) -> None:
        self._pool = pool

    def connectionMade(self) -> None:
        """The handshake is done, and with it the choice."""
        transport: Any = self.transport
        self.chosen = self._pool.build(transport.alpn)
        transport.protocol = self.chosen
        self.chosen.makeConnection(transport)


class StreamPool:
    """Channels of ``pool``'s identity that are streams; of its own kind where the server has no HTTP/2.

    A connection is made when those that are there have no room, one at a time; who asked meanwhile waits.
    """

    def __init__(self, reactor: IReactor, pool: Pool, tls: ContextSource) -> None:
        """``tls`` offers `OFFERED`."""
        self._reactor = reactor
        self._ends = DelayedCalls(reactor)
        self._pool = pool
        self._tls = tls
        self._connections: list[H2Connection] = []
        self._waiting: list[Deferred[UpstreamChannel]] = []
        self._attempt: Deferred[UpstreamConnection | None] | None = None
        self._plain_until = 0.0

    @property
    def _plain(self) -> bool:
        return self._reactor.seconds() < self._plain_until

    def take_idle(self, proven: bool = False) -> UpstreamChannel | None:
        """A stream of a connection that has room; see `superedge.web.channels.ChannelSource`."""
        for connection in list(self._connections):
            if connection.room <= 0:
                continue
            # One with requests under way is asked for signs of life all the time.
            if proven and connection.idle and not is_proven(connection.transport):
                connection.drain()
                continue
            return connection.stream()
        return self._pool.take_idle(proven) if self._plain else None

    def connect(self) -> Deferred[Any]:
        """A stream of a new connection, or of one that has room by then; fails with ConnectError."""
        if self._plain:
            return self._pool.connect()
        waiting: Deferred[UpstreamChannel] = Deferred(self._given_up)
        self._waiting.append(waiting)
        self._serve()
        return waiting

    def _given_up(self, waiting: Deferred[UpstreamChannel]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
            if not self._waiting and self._attempt is not None:
                self._attempt.cancel()

    def _serve(self) -> None:
        """Give streams to those that wait, and make a connection for the others."""
        while self._waiting:
            channel = self.take_idle()
            if channel is None:
                break
            self._waiting.pop(0).callback(channel)
        if self._waiting and self._attempt is None:
            self._attempt = Deferred.fromCoroutine(self._dial())
            self._attempt.addCallbacks(self._dialled, self._not_dialled)

    async def _dial(self) -> UpstreamConnection | None:
        """A connection without HTTP/2 if that is what the server wants. Raises ConnectError."""
        generation = self._pool.generation
        chosen = (await self._pool.dial(self._tls, lambda: _Chooser(self))).chosen
        if isinstance(chosen, UpstreamConnection):
            self._plain_until = self._reactor.seconds() + PLAIN_FOR
            self._pool.adopt(chosen, generation)
            return chosen
        bound_unacknowledged(chosen.transport)
        self._connections.append(chosen)
        try:
            await chosen.ready.addTimeout(SETTINGS_TIMEOUT, self._reactor)
        except CancelledError:
            chosen.abort()
            raise
        except (ConnectError, TimeoutError) as problem:
            chosen.abort()
            self._without(str(problem) or f"no SETTINGS within {SETTINGS_TIMEOUT:g} s")
            return None
        if self._pool.generation is not generation:
            chosen.drain()  # the identity's files changed meanwhile
        elif chosen.room <= 0:
            chosen.drain()
            self._without("it lets nobody open a stream")
        return None

    def _without(self, reason: str) -> None:
        _log.warn("HTTP/1.1 for now, the server offers HTTP/2 and fails at it: {reason}", reason=reason)
        self._plain_until = self._reactor.seconds() + PLAIN_FOR

    def _dialled(self, plain: UpstreamConnection | None) -> None:
        self._attempt = None
        if not self._plain:
            self._serve()
            return
        waiting, self._waiting = self._waiting, []
        if plain is not None and waiting:
            waiting.pop(0).callback(plain)
        elif plain is not None:
            plain.abandon()
        for one in waiting:
            self._pool.connect().addBoth(self._pass_on, one)

    def _pass_on(self, result: UpstreamConnection | Failure, waiting: Deferred[UpstreamChannel]) -> None:
        if not waiting.called:
            waiting.callback(result)
        elif isinstance(result, UpstreamConnection):
            result.abandon()

    def _not_dialled(self, failure: Failure) -> None:
        self._attempt = None
        if failure.check(ConnectError, CancelledError) is None:
            _log.failure("a shared connection could not be made", failure)
            failure = Failure(ConnectError(failure.getErrorMessage()))
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.errback(failure)

    def build(self, protocol: str | None) -> H2Connection | UpstreamConnection:
        """What speaks the protocol that the server chose."""
        if protocol != "h2":
            return self._pool.build()
        # Where no server has it, a process need not hold it.
        from superedge.web.h2client import H2Connection  # noqa: PLC0415

        return H2Connection(self._reactor, self._changed)

    def _changed(self, connection: H2Connection) -> None:
        if connection.lost and connection in self._connections:
            self._connections.remove(connection)
        self._serve()

    # -- as a pool

    def question(self) -> None:
        """Ask every connection for a sign of life now."""
        for connection in self._connections:
            connection.question()

    def close_idle(self, before: float | None = None) -> None:
        """Close connections without streams, all or those unused since ``before``.

        Without ``before`` the others take no more streams, and close after those they have.
        """
        for connection in list(self._connections):
            if before is None or (connection.idle and connection.idle_since <= before):
                connection.drain()

    def replace(self, bound: float) -> None:
        """Connections of the old files end after their streams or ``bound`` seconds."""
        old = list(self._connections)
        self.close_idle()
        self._ends.call_later(bound, self._abort, old)

    def abort(self) -> None:
        """Drop every connection."""
        self._ends.cancel_all()
        self._abort(self._connections)

    def _abort(self, connections: list[H2Connection]) -> None:
        for connection in list(connections):
            if not connection.lost:
                connection.abort()
