"""Connections to one set of servers, kept for the next request; `superedge.web.h2pool` has shared ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol

from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint, ContextSource
from superedge.net.errors import ConnectError
from superedge.net.factory import MakingFactory
from superedge.net.later import Later
from superedge.net.servers import Servers
from superedge.web.channels import SharedConnections
from superedge.web.client import UpstreamConnection

MAX_IDLE = 64
IDLE_TIMEOUT = 90.0
"""Seconds an unused connection is kept; kube-apiserver keeps it longer."""

Made = TypeVar("Made", bound=IProtocol)


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
        self._ends = Later(reactor)
        self.shared: SharedConnections | None = None
        """Connections for what need not have one of its own, if there are such."""

    def take_idle(self) -> UpstreamConnection | None:
        """An idle connection, if there is one."""
        while self._idle:
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
        connection.lost = self._lost

    async def dial(self, tls: ContextSource, build: Callable[[], Made]) -> Made:
        """A protocol that is connected to the first server that answers. Raises ConnectError."""
        problem: ConnectError | None = None
        for address in self._servers.order(self._reactor.seconds()):
            endpoint = ClientEndpoint(
                self._reactor, address, tls, self._server_name, timeout=self._connect_timeout
            )
            try:
                protocol = await endpoint.connect(cast(Any, MakingFactory(build)))
            except ConnectError as refused:
                self._servers.failed(address, self._reactor.seconds())
                problem = refused
                continue
            self._servers.connected(address)
            return cast(Made, protocol)
        raise problem or ConnectError("no upstream server is configured")

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
        self._ends.call(bound, self._abort, old)
        if self.shared is not None:
            self.shared.replace(bound)

    def _abort(self, connections: Sequence[UpstreamConnection]) -> None:
        for connection in connections:
            if connection in self._connections:
                connection.transport.abortConnection()

    def abort(self) -> None:
        """Drop every connection."""
        self._idle.clear()
        self._ends.call_off()
        self._abort(list(self._connections))
        if self.shared is not None:
            self.shared.abort()
