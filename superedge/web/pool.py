"""A pool of HTTP/1.1 connections to one set of servers. Its HTTP/2 counterpart is `superedge.web.h2pool`."""

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
from superedge.web.client import H1Connection

MAX_IDLE = 64
NEXT_SERVER_DELAY = 1.0
"""Seconds after which the next server is tried in parallel with one that has not connected."""
IDLE_TIMEOUT = 90.0
"""Seconds that an unused connection is kept; kube-apiserver keeps it longer."""

USER_TIMEOUT = 30.0
"""Seconds without an acknowledgement of sent data after which the kernel closes a connection."""
PROVEN_WITHIN = 5.0
"""Seconds after its last response in which a connection is used for a request that cannot be sent twice.
What the kernel heard since then does not count: a balancer acknowledges for a server that is gone."""

Made = TypeVar("Made", bound=IProtocol)


def set_user_timeout(transport: Any) -> None:
    """Have the kernel close a connection whose peer acknowledges nothing for `USER_TIMEOUT` seconds."""
    if tcp_socket(transport) is not None:
        transport.give_up_after(USER_TIMEOUT)


class Pool:
    """Connections that use one identity. Idle ones are reused, the most recently used first."""

    def __init__(
        self,
        reactor: IReactor,
        servers: Servers,
        tls: ContextSource,
        server_name: str | None,
        connect_timeout: float,
    ) -> None:
        self.reactor = reactor
        self._servers = servers
        self._tls = tls
        self._server_name = server_name
        self._connect_timeout = connect_timeout
        self._idle: list[H1Connection] = []
        self._connections: dict[H1Connection, object] = {}
        self._probed: set[H1Connection] = set()
        """Connections with an outstanding probe."""
        self._ends = DelayedCalls(reactor)
        self.shared: SharedConnections | None = None
        """HTTP/2 connections with the same identity, if they are used."""

    def take_idle(self, proven: bool = False) -> H1Connection | None:
        """See `superedge.web.channels.ChannelSource`."""
        while self._idle:
            if proven and self.reactor.seconds() - self._idle[-1].idle_since > PROVEN_WITHIN:
                return None  # the others have been idle for longer
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def connect(self) -> Deferred[H1Connection]:
        """A new connection. Fails with ConnectError after every server was tried. Cancellable."""
        return Deferred.fromCoroutine(self._connect())

    async def _connect(self) -> H1Connection:
        generation = self._tls.current()
        connection = await self.dial(self._tls, self.build)
        self.adopt(connection, generation)
        return connection

    @property
    def generation(self) -> object:
        """An object that is replaced when the identity's files change."""
        return self._tls.current()

    def build(self) -> H1Connection:
        """A protocol of this pool without a transport, see `adopt`."""
        return H1Connection(self._released)

    def adopt(self, connection: H1Connection, generation: object) -> None:
        """Register a connection that was made with this `generation`."""
        self._connections[connection] = generation
        set_user_timeout(connection.transport)
        connection.lost = self._lost

    async def dial(self, tls: ContextSource, build: Callable[[], Made]) -> Made:
        """Connect a new protocol to the first server that answers. Raises ConnectError."""

        def connect(address: TCPAddress) -> Deferred[IProtocol]:
            endpoint = ClientEndpoint(
                self.reactor, address, tls, self._server_name, timeout=self._connect_timeout
            )
            return endpoint.connect(cast(Any, CallableFactory(build)))

        return cast(Made, await connect_to_any(self.reactor, self._servers, connect, NEXT_SERVER_DELAY))

    def _released(self, connection: H1Connection) -> None:
        current = self._tls.current()
        if not connection.usable:
            return
        if len(self._idle) >= MAX_IDLE or self._connections.get(connection) is not current:
            connection.usable = False
            connection.transport.loseConnection()
            return
        connection.idle_since = self.reactor.seconds()
        self._idle.append(connection)

    def _lost(self, connection: H1Connection) -> None:
        self._connections.pop(connection, None)
        if connection in self._idle:
            self._idle.remove(connection)

    def probe(self) -> None:
        """Probe the path of every connection, and give up those that fail.

        Call it when the servers answer over new connections again: older ones may be dead.
        """
        for connection in list(self._connections):
            sock = tcp_socket(connection.transport)
            if sock is not None and connection not in self._probed:
                self._probed.add(connection)
                wait = start_probe(sock)
                self._ends.call_later(wait, self._check_probed, connection, wait)
        if self.shared is not None:
            self.shared.probe()

    def _check_probed(self, connection: H1Connection, waited: float) -> None:
        self._probed.discard(connection)
        sock = tcp_socket(connection.transport)
        if connection in self._connections and sock is not None and not finish_probe(sock, waited):
            connection.give_up(
                f"the path to the server is gone: no packet from it for {seconds_silent(sock):.0f} s"
            )

    def close_idle(self, before: float | None = None) -> None:
        """Close idle connections: all, or those unused since ``before`` (reactor seconds)."""
        for connection in list(self._idle):
            if before is None or connection.idle_since <= before:
                self._idle.remove(connection)
                connection.usable = False
                connection.transport.loseConnection()
        if self.shared is not None:
            self.shared.close_idle(before)

    def replace(self, bound: float) -> None:
        """End the connections that use the identity's old files.

        Busy ones end after their response, or after ``bound`` seconds.
        """
        self.close_idle()
        current = self._tls.current()
        old = [connection for connection, used in self._connections.items() if used is not current]
        self._ends.call_later(bound, self._abort, old)
        if self.shared is not None:
            self.shared.replace(bound)

    def _abort(self, connections: Sequence[H1Connection]) -> None:
        for connection in connections:
            if connection in self._connections:
                connection.transport.abortConnection()

    def abort(self) -> None:
        """Abort every connection."""
        self._idle.clear()
        self._ends.cancel_all()
        self._abort(list(self._connections))
        if self.shared is not None:
            self.shared.abort()
