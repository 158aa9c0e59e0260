"""A pool of HTTP connections to targets on nodes; each connection is a stream."""

from __future__ import annotations

from typing import NamedTuple

from twisted.internet.defer import Deferred

from superedge.interfaces import IReactor
from superedge.tunnel.cloud import Tunnel
from superedge.web.client import H1Connection

MAX_IDLE = 16
"""Idle connections that are kept to one target."""
PROVEN_WITHIN = 1.0
"""Seconds after its last response in which a connection is used for a request that cannot be sent twice: many
servers close a connection that was idle for a few seconds, just as such a request arrives."""


class Target(NamedTuple):
    """An address on a node, and the kind of stream to open."""

    node: str
    address: str
    kind: str


class Upstreams:
    """Reuses idle connections, the last used first, and opens new ones."""

    def __init__(self, reactor: IReactor, tunnel: Tunnel, dial_timeout: float) -> None:
        self._reactor = reactor
        self._tunnel = tunnel
        self._dial_timeout = dial_timeout
        self._idle: dict[Target, list[H1Connection]] = {}
        self._closed = False

    def take_idle(self, target: Target, repeatable: bool) -> H1Connection | None:
        """An idle connection, if there is one; for a request that is not ``repeatable``, one just used."""
        idle = self._idle.get(target, [])
        while idle:
            if not repeatable and self._reactor.seconds() - idle[-1].idle_since > PROVEN_WITHIN:
                return None  # the others have been idle for longer
            connection = idle.pop()
            if not idle:
                del self._idle[target]
            if connection.usable:
                return connection
        return None

    def connect(self, target: Target, caller: str) -> Deferred[H1Connection]:
        """A new connection, for who asks; fails with DialError. Cancellable."""
        return Deferred.fromCoroutine(self._connect(target, caller))

    async def _connect(self, target: Target, caller: str) -> H1Connection:
        stream = await self._tunnel.open(
            target.node, target.address, timeout=self._dial_timeout, kind=target.kind, caller=caller
        )
        connection = H1Connection(lambda released: self._released(target, released))
        connection.lost = lambda lost: self._lost(target, lost)
        stream.connect(connection)
        return connection

    def _released(self, target: Target, connection: H1Connection) -> None:
        if not connection.usable:
            return
        idle = self._idle.setdefault(target, [])
        if self._closed or len(idle) >= MAX_IDLE:
            self._end(connection)
            if not idle:
                del self._idle[target]
            return
        connection.idle_since = self._reactor.seconds()
        idle.append(connection)

    def _lost(self, target: Target, connection: H1Connection) -> None:
        idle = self._idle.get(target, [])
        if connection in idle:
            idle.remove(connection)
            if not idle:
                del self._idle[target]

    def _end(self, connection: H1Connection) -> None:
        connection.usable = False
        connection.transport.loseConnection()

    def close_idle(self, before: float) -> None:
        """Close the connections that are idle since ``before`` (reactor seconds) or longer."""
        for target, idle in list(self._idle.items()):
            for connection in [each for each in idle if each.idle_since <= before]:
                self._lost(target, connection)
                self._end(connection)

    def close(self) -> None:
        """Close the idle connections, and keep none from now on."""
        self._closed = True
        self.close_idle(self._reactor.seconds())
