"""Connections to one set of servers, kept for the next request; `superedge.web.h2pool` has shared ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint, ContextSource
from superedge.net.factory import CallableFactory
from superedge.net.failover import connect_to_any
from superedge.net.liveness import finish_probe, seconds_silent, start_probe, tcp_socket
from superedge.net.servers import Servers
from superedge.reactor.delayedcalls import DelayedCalls
from superedge.web.channels import SharedConnections
from superedge.web.client import UpstreamConnection

MAX_IDLE = 64
SHARE = 1.0
"""Seconds that a server has to be connected before the next is tried beside it."""
IDLE_TIMEOUT = 90.0
"""Seconds an unused connection is kept; kube-apiserver keeps it longer."""

UNACKNOWLEDGED = 30.0
"""Seconds that a server has to acknowledge what was sent, before the connection counts as lost."""
TRUST = 5.0
"""Seconds of silence after which a connection is not trusted with what cannot be sent twice."""

Made = TypeVar("Made", bound=IProtocol)


def is_proven(transport: Any) -> bool:
    """Whether the peer was heard of in the last `TRUST` seconds."""
    sock = tcp_socket(transport)
    return sock is None or seconds_silent(sock) < TRUST


def bound_unacknowledged(transport: Any) -> None:
    """Have the kernel give up a connection whose peer acknowledges nothing for `UNACKNOWLEDGED` seconds."""
    if tcp_socket(transport) is not None:
        transport.give_up_after(UNACKNOWLEDGED)


class Pool:
    """Connections with one identity. Idle ones are used again, the last used first."""

    def __init__(
        self,
        reactor: IReactor,
        servers: Servers,
        tls: ContextSource,
        server_name: str | None,
        connect_timeout: float,
    ) -> None:
        self._reactor = reactor
        self._servers = servers
        self._tls = tls
        self._server_name = server_name
        self._connect_timeout = connect_timeout
        self._idle: list[UpstreamConnection] = []
        self._connections: dict[UpstreamConnection, object] = {}
        self._questioned: set[UpstreamConnection] = set()
        """Those that have to show now that their path is still there."""
        self._ends = DelayedCalls(reactor)
        self.shared: SharedConnections | None = None
        """Connections for what need not have one of its own, if there are such."""

    def take_idle(self, proven: bool = False) -> UpstreamConnection | None:
        """An idle connection, if there is one; see `superedge.web.channels.ChannelSource`."""
        while self._idle:
            if proven and not is_proven(self._idle[-1].transport):
                return None  # the others are idle for longer
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def connect(self) -> Deferred[UpstreamConnection]:
        """A new connection; fails with ConnectError after every server was tried. Cancellable."""
        return Deferred.fromCoroutine(self._connect())

    async def _connect(self) -> UpstreamConnection:
        generation = self._tls.current()
        connection = await self.dial(self._tls, self.build)
        self.adopt(connection, generation)
        return connection

    @property
    def generation(self) -> object:
        """Changes when the identity's files do."""
        return self._tls.current()

    def build(self) -> UpstreamConnection:
        """A connection of this pool that is not connected yet, see `adopt`."""
        return UpstreamConnection(self._released)

    def adopt(self, connection: UpstreamConnection, generation: object) -> None:
        """Count a connection that was made when `generation` was this."""
        self._connections[connection] = generation
        bound_unacknowledged(connection.transport)
        connection.lost = self._lost

    async def dial(self, tls: ContextSource, build: Callable[[], Made]) -> Made:
        """A protocol that is connected to the first server that answers. Raises ConnectError."""

        def connect(address: TCPAddress) -> Deferred[IProtocol]:
            endpoint = ClientEndpoint(
                self._reactor, address, tls, self._server_name, timeout=self._connect_timeout
            )
            return endpoint.connect(cast(Any, CallableFactory(build)))

        return cast(Made, await connect_to_any(self._reactor, self._servers, connect, SHARE))

    def _released(self, connection: UpstreamConnection) -> None:
        current = self._tls.current()
        if not connection.usable:
            return
        if len(self._idle) >= MAX_IDLE or self._connections.get(connection) is not current:
            connection.usable = False
            connection.transport.loseConnection()
            return
        connection.idle_since = self._reactor.seconds()
        self._idle.append(connection)

    def _lost(self, connection: UpstreamConnection) -> None:
        self._connections.pop(connection, None)
        if connection in self._idle:
            self._idle.remove(connection)

    def question(self) -> None:
        """The servers answer over new connections: give up those of the others whose path is gone."""
        for connection in list(self._connections):
            sock = tcp_socket(connection.transport)
            if sock is not None and connection not in self._questioned:
                self._questioned.add(connection)
                wait = start_probe(sock)
                self._ends.call_later(wait, self._questioned_for, connection, wait)
        if self.shared is not None:
            self.shared.question()

    def _questioned_for(self, connection: UpstreamConnection, waited: float) -> None:
        self._questioned.discard(connection)
        sock = tcp_socket(connection.transport)
        if connection in self._connections and sock is not None and not finish_probe(sock, waited):
            connection.give_up(
                f"the path to the server is gone: nothing came for {seconds_silent(sock):.0f} s"
            )

    def close_idle(self, before: float | None = None) -> None:
        """Close idle connections, all or those unused since ``before`` (reactor seconds)."""
        for connection in list(self._idle):
            if before is None or connection.idle_since <= before:
                self._idle.remove(connection)
                connection.usable = False
                connection.transport.loseConnection()
        if self.shared is not None:
            self.shared.close_idle(before)

    def replace(self, bound: float) -> None:
        """The identity has new files: end what uses the old, busy ones after their response or ``bound``."""
        self.close_idle()
        current = self._tls.current()
        old = [connection for connection, used in self._connections.items() if used is not current]
        self._ends.call_later(bound, self._abort, old)
        if self.shared is not None:
            self.shared.replace(bound)

    def _abort(self, connections: Sequence[UpstreamConnection]) -> None:
        for connection in connections:
            if connection in self._connections:
                connection.transport.abortConnection()

    def abort(self) -> None:
        """Drop every connection."""
        self._idle.clear()
        self._ends.cancel_all()
        self._abort(list(self._connections))
        if self.shared is not None:
            self.shared.abort()
