"""A pool of HTTP/2 connections, whose streams carry the requests of one identity."""

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
from superedge.web.client import H1Connection
from superedge.web.pool import PROVEN_WITHIN, Pool, set_user_timeout

if TYPE_CHECKING:
    from superedge.web.h2client import H2Connection

OFFERED = ("h2", "http/1.1")
"""The protocols to offer by ALPN."""
HTTP1_PERIOD = 60.0
"""Seconds for which HTTP/1.1 is used after a server did not choose HTTP/2, or failed at it."""
SETTINGS_TIMEOUT = 3.0
"""Seconds for a server that chose HTTP/2 to send its SETTINGS."""

_log = Logger()


class _ALPNSwitch(Protocol):
    """Replaces itself by the protocol that the server chose by ALPN."""

    chosen: H2Connection | H1Connection

    def __init__(self, pool: H2Pool) -> None:
        self._pool = pool

    def connectionMade(self) -> None:
        """The TLS handshake is complete, and the server has chosen."""
        transport: Any = self.transport
        self.chosen = self._pool.build(transport.alpn)
        transport.protocol = self.chosen
        self.chosen.makeConnection(transport)


class H2Pool:
    """Provides HTTP/2 streams for ``pool``'s identity, or connections of ``pool`` without HTTP/2.

    It makes a connection when no other has room for a stream, one at a time. Requests wait meanwhile.
    """

    def __init__(self, reactor: IReactor, pool: Pool, tls: ContextSource) -> None:
        """``tls`` offers `OFFERED`."""
        self._reactor = reactor
        self._ends = DelayedCalls(reactor)
        self._pool = pool
        self._tls = tls
        self._connections: list[H2Connection] = []
        self._waiting: list[Deferred[UpstreamChannel]] = []
        self._attempt: Deferred[H1Connection | None] | None = None
        self._http1_until = 0.0

    @property
    def _use_http1(self) -> bool:
        return self._reactor.seconds() < self._http1_until

    def take_idle(self, proven: bool = False) -> UpstreamChannel | None:
        """A stream of an existing connection, see `superedge.web.channels.ChannelSource`."""
        for connection in list(self._connections):
            if connection.room <= 0:
                continue
            # A busy connection needs no check: it sends PINGs anyway.
            unproven = self._reactor.seconds() - connection.idle_since > PROVEN_WITHIN
            if proven and connection.idle and unproven:
                connection.drain()
                continue
            return connection.stream()
        return self._pool.take_idle(proven) if self._use_http1 else None

    def connect(self) -> Deferred[Any]:
        """A stream of a new connection, or of one that has room by then. Fails with ConnectError."""
        if self._use_http1:
            return self._pool.connect()
        waiting: Deferred[UpstreamChannel] = Deferred(self._cancelled)
        self._waiting.append(waiting)
        self._serve()
        return waiting

    def _cancelled(self, waiting: Deferred[UpstreamChannel]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
            if not self._waiting and self._attempt is not None:
                self._attempt.cancel()

    def _serve(self) -> None:
        """Give streams to waiting requests, and make a connection for the others."""
        while self._waiting:
            channel = self.take_idle()
            if channel is None:
                break
            self._waiting.pop(0).callback(channel)
        if self._waiting and self._attempt is None:
            self._attempt = Deferred.fromCoroutine(self._dial())
            self._attempt.addCallbacks(self._connected, self._connect_failed)

    async def _dial(self) -> H1Connection | None:
        """Make a connection. Returns it if the server chose HTTP/1.1. Raises ConnectError."""
        generation = self._pool.generation
        chosen = (await self._pool.dial(self._tls, lambda: _ALPNSwitch(self))).chosen
        if isinstance(chosen, H1Connection):
            self._http1_until = self._reactor.seconds() + HTTP1_PERIOD
            self._pool.adopt(chosen, generation)
            return chosen
        set_user_timeout(chosen.transport)
        self._connections.append(chosen)
        try:
            await chosen.ready.addTimeout(SETTINGS_TIMEOUT, self._reactor)
        except CancelledError:
            chosen.abort()
            raise
        except ConnectError as problem:
            chosen.abort()
            self._fall_back(str(problem))
            return None
        except TimeoutError:
            chosen.abort()
            self._fall_back(f"no SETTINGS within {SETTINGS_TIMEOUT:g} s")
            return None
        if self._pool.generation is not generation:
            chosen.drain()  # the identity's files changed meanwhile
        elif chosen.room <= 0:
            chosen.drain()
            self._fall_back("it allows no streams")
        return None

    def _fall_back(self, reason: str) -> None:
        _log.warn("using HTTP/1.1 for now: the server chose HTTP/2 and failed at it: {reason}", reason=reason)
        self._http1_until = self._reactor.seconds() + HTTP1_PERIOD

    def _connected(self, http1: H1Connection | None) -> None:
        self._attempt = None
        if not self._use_http1:
            self._serve()
            return
        waiting, self._waiting = self._waiting, []
        if http1 is not None and waiting:
            waiting.pop(0).callback(http1)
        elif http1 is not None:
            http1.abandon()
        for one in waiting:
            self._pool.connect().addBoth(self._pass_on, one)

    def _pass_on(self, result: H1Connection | Failure, waiting: Deferred[UpstreamChannel]) -> None:
        if not waiting.called:
            waiting.callback(result)
        elif isinstance(result, H1Connection):
            result.abandon()

    def _connect_failed(self, failure: Failure) -> None:
        self._attempt = None
        if failure.check(ConnectError, CancelledError) is None:
            _log.failure("an HTTP/2 connection could not be made", failure)
            failure = Failure(ConnectError(failure.getErrorMessage()))
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.errback(failure)

    def build(self, protocol: str | None) -> H2Connection | H1Connection:
        """A protocol instance for the server's choice."""
        if protocol != "h2":
            return self._pool.build()
        # Imported on demand: a process whose servers have no HTTP/2 saves the memory.
        from superedge.web.h2client import H2Connection  # noqa: PLC0415

        return H2Connection(self._reactor, self._changed)

    def _changed(self, connection: H2Connection) -> None:
        if connection.lost and connection in self._connections:
            self._connections.remove(connection)
        self._serve()

    # -- SharedConnections

    def probe(self) -> None:
        """Send a PING on every busy connection."""
        for connection in self._connections:
            connection.probe()

    def close_idle(self, before: float | None = None) -> None:
        """Close connections without streams: all, or those unused since ``before``.

        Without ``before``, the others take no new streams and close after the ones they have.
        """
        for connection in list(self._connections):
            if before is None or (connection.idle and connection.idle_since <= before):
                connection.drain()

    def replace(self, bound: float) -> None:
        """End the connections that use the identity's old files, after their streams or ``bound`` seconds."""
        old = list(self._connections)
        self.close_idle()
        self._ends.call_later(bound, self._abort, old)

    def abort(self) -> None:
        """Abort every connection."""
        self._ends.cancel_all()
        self._abort(self._connections)

    def _abort(self, connections: list[H2Connection]) -> None:
        for connection in list(connections):
            if not connection.lost:
                connection.abort()
