"""The cloud service: the sessions of edge nodes, and streams to the nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast
from typing import Protocol as TypingProtocol
from weakref import WeakValueDictionary

from twisted.application.service import Service
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from superedge.config.addresses import parse_address
from superedge.config.tunnel import TunnelCloudConfig
from superedge.interfaces import IReactor
from superedge.mux.protocol import MuxConnection
from superedge.mux.stream import MuxStream
from superedge.net.bucket import TokenBucket
from superedge.net.endpoints import ServerEndpoint
from superedge.net.sockets import address_text
from superedge.reactor.draining import drained
from superedge.reactor.task import in_background
from superedge.tls.contexts import ServerContextSource
from superedge.tls.denied import DenyList
from superedge.tls.reload import FileWatcher
from superedge.tunnel import metrics
from superedge.tunnel.dial import dial
from superedge.tunnel.dialslots import DialSlots
from superedge.tunnel.edgeconnection import ControlProtocol, EdgeConnection
from superedge.tunnel.errors import DialError
from superedge.tunnel.limits import mux_settings
from superedge.tunnel.messages import DialRequest, Hello, Notice
from superedge.tunnel.names import ALPN, NameRules
from superedge.tunnel.nodehistory import GoneNode, NodeHistory
from superedge.tunnel.nodetable import NodeSession, NodeTable
from superedge.tunnel.serve import MAX_REASON

MAX_CONNECTIONS = 32
"""Connections of one session: twice as many as an edge keeps, since lost ones may not be noticed yet."""

StreamCallback = Callable[[MuxStream], None]

_dial_seconds = metrics.DIAL_SECONDS.labels("cloud")
_log = Logger()


class Tunnel(TypingProtocol):
    """What listeners need of the cloud end."""

    def knows(self, node: str) -> bool:
        """Whether the node is connected."""

    async def open(
        self,
        node: str,
        address: str,
        *,
        timeout: float,
        kind: str = "tcp",
        on_stream: StreamCallback | None = None,
        caller: str = "",
    ) -> MuxStream:
        """A paused stream to ``address``, connected by the node's handler of ``kind``. Raises DialError.

        ``on_stream`` may be called with the stream while the node still connects to the target. Bytes written
        to the stream then do not wait for the node's answer, which saves a round trip. ``caller`` identifies
        the caller: callers share a node's dial slots.
        """


class TunnelCloud(Service):
    """Accepts sessions, keeps the node table, opens streams."""

    name = "tunnel-cloud"

    def __init__(
        self,
        reactor: IReactor,
        config: TunnelCloudConfig,
        watcher: FileWatcher,
        replica: str = "",
        names: NameRules | None = None,
        denied: DenyList | None = None,
    ) -> None:
        """``replica`` is this replica's name, for the log. A node with a ``denied`` certificate is refused.

        Raises IdentityError when the TLS files are not usable.
        """
        self.names = names or NameRules()
        self._denied = denied
        self._pending: dict[str, DialSlots] = {}
        self._reactor = reactor
        self._config = config
        self._replica = replica
        self._tls = ServerContextSource(config.certificate, config.key, config.ca, "required", [ALPN])
        watcher.watch_context(self._tls)
        self.nodes = NodeTable()
        self.history = NodeHistory()
        self._connections: set[MuxConnection] = set()
        self._buckets: WeakValueDictionary[str, TokenBucket] = WeakValueDictionary()
        self._meter = metrics.SessionMeter(
            reactor, "cloud", lambda: self._connections, lambda: len(self.nodes)
        )
        self._port: IListeningPort | None = None
        self._draining = False
        self._drained_by: float | None = None

    @property
    def address(self) -> Any:
        """Where it listens."""
        assert self._port is not None
        return self._port.getHost()

    def knows(self, node: str) -> bool:
        """Whether the node is connected to this replica."""
        return self.nodes.get(node) is not None

    def admits(self, transport: Any) -> bool:
        """Whether a node's certificate is not denied."""
        return self._denied is None or self._denied.admit(transport)

    def refused(self, node: str, reason: str) -> None:
        """A certificate of the node is denied."""
        self.history.failed(node, reason)

    async def open(
        self,
        node: str,
        address: str,
        *,
        timeout: float,
        kind: str = "tcp",
        on_stream: StreamCallback | None = None,
        caller: str = "",
    ) -> MuxStream:
        """A paused stream to ``address``, connected by the node's handler of ``kind``. Raises DialError."""
        session = self.nodes.get(node)
        started = self._reactor.seconds()
        try:
            if session is None:
                raise DialError("not-connected", f"node {node} is not connected")
            stream = await self._dial(session, DialRequest(kind, address, timeout, caller), on_stream)
        except DialError as problem:
            metrics.DIAL_FAILURES.labels("cloud", problem.code).inc()
            if session is not None:
                self.history.failed(node, f"dial of {address}: {problem.code}: {problem.message}")
            _log.warn(
                "dial of {address} on {node} failed: {code}: {reason}",
                node=node,
                address=address[:MAX_REASON],
                code=problem.code,
                reason=problem.message,
            )
            raise
        _dial_seconds.observe(self._reactor.seconds() - started)
        return stream

    async def _dial(
        self, session: NodeSession, request: DialRequest, on_stream: StreamCallback | None
    ) -> MuxStream:
        pending = self._pending.setdefault(session.node, DialSlots(self._config.limits.streams))
        pending.acquire(request.address, request.caller)
        try:
            return await dial(session.least_loaded(), request, on_stream)
        finally:
            pending.release(request.address, request.caller)
            if not pending:
                self._pending.pop(session.node, None)

    def connected(self, connection: EdgeConnection) -> None:
        """A node's certificate is accepted: wait for the hello, for a bounded time."""
        connection.epoch = self.nodes.next_epoch()
        if rate := self._config.limits.bandwidth:
            bucket = self._buckets.get(connection.node) or TokenBucket(rate, self._reactor.seconds())
            self._buckets[connection.node] = connection.bandwidth = bucket
        timeout = self._config.limits.prologue_timeout
        connection.deadline = self._reactor.callLater(
            timeout, connection.dismiss, f"no hello within {timeout:g} s"
        )
        self._connections.add(connection)
        connection.when_closed().addCallback(self._ended, connection)

    def hello_received(self, connection: EdgeConnection, hello: Hello) -> None:
        """The hello has come: the connection joins its node's session, or starts a session that replaces
        it."""
        if connection.deadline is not None:
            connection.deadline.cancel()
            connection.deadline = None
        node, peer = connection.node, address_text(connection.peer)
        session = self.nodes.get(node)
        if hello.joins:
            if session is None or not hello.session or session.hello.session != hello.session:
                connection.dismiss("the session to join is not on this replica")
                return
            if len(session.connections) >= MAX_CONNECTIONS:
                connection.dismiss(f"the session has {len(session.connections)} connections already")
                return
            session.connections.append(connection)
            session.controls[connection] = connection.control
            _log.info("tunnel session of {node} has a further connection", node=node, peer=peer)
        else:
            session = NodeSession(node, connection.epoch, hello, [connection], self.nodes.now())
            session.controls[connection] = connection.control
            self.history.connected(node)
            metrics.SESSIONS_STARTED.labels("cloud").inc()
            _log.info(
                "tunnel session of {node} started",
                node=node,
                peer=peer,
                epoch=session.epoch,
                replica=self._replica,
            )
            before = self.nodes.add(session)
            if before is not None:
                metrics.RECONNECTS.labels("cloud").inc()
                self._replace(before, session)
        connection.node_session = session
        if self._draining:
            connection.go_away()

    def _replace(self, before: NodeSession, session: NodeSession) -> None:
        """Close the older session of a node. Its edge and the log get the reason."""
        older, newer = before, session
        if before is self.nodes.get(session.node):  # the new session has the lower epoch
            older, newer = session, before
        node = session.node
        then, now = (each.hello.instance or each.hello.boot_id for each in (older, newer))
        reason = f"a newer session of the same node replaced it, from {newer.peer}"
        if self.history.record_takeover(node, then, now):
            reason = f"two edges share the certificate of {node}: one at {newer.peer}, one at {older.peer}"
            self.history.failed(node, reason)
            _log.warn(
                "two edges share the certificate of {node}: one at {peer}, one at {other}",
                node=node,
                peer=newer.peer,
                other=older.peer,
            )
        older.notify(Notice("replaced", reason))
        older.close(reason)

    def node_status(self) -> list[dict[str, object]]:
        """For the status page: the connected nodes, then the nodes that have disconnected."""
        found: list[dict[str, object]] = []
        for session in sorted(self.nodes, key=lambda session: session.node):
            first, stats = session.connections[0], [each.stats for each in session.connections]
            found.append(
                {
                    "name": session.node,
                    "connected": True,
                    "since": session.since,
                    "peer": session.peer,
                    "version": session.hello.version,
                    "rtt_seconds": first.rtt,
                    "connections": len(session.connections),
                    "streams": sum(max(0, each.stream_count - 1) for each in session.connections),
                    "bytes_in": sum(each.bytes_in for each in stats),
                    "bytes_out": sum(each.bytes_out for each in stats),
                    "last_error": self.history.last_error(session.node),
                }
            )
        for gone in self.history.gone.values():
            found.append(
                {
                    "name": gone.name,
                    "connected": False,
                    "since": gone.gone_since,
                    "connected_since": gone.connected_since,
                    "peer": gone.peer,
                    "version": gone.version,
                    "last_error": gone.reason,
                }
            )
        return found

    def _ended(self, reason: str, connection: EdgeConnection) -> None:
        if connection.deadline is not None and connection.deadline.active():
            connection.deadline.cancel()
        connection.deadline = None
        self._connections.discard(connection)
        self._meter.account(connection, ended=True)
        node, peer, session = connection.node, address_text(connection.peer), connection.node_session
        if session is None:
            _log.info("tunnel connection of {node} ended: {reason}", node=node, peer=peer, reason=reason)
            return
        session.connections.remove(connection)
        session.controls.pop(connection, None)
        if session.connections:
            _log.info(
                "tunnel session of {node} lost a connection: {reason}", node=node, peer=peer, reason=reason
            )
            return
        was_newest = self.nodes.get(node) is session
        self.nodes.remove(session)
        if was_newest:
            version, now = session.hello.version, self.nodes.now()
            self.history.disconnected(GoneNode(node, peer, version, session.since, now, reason))
        _log.info(
            "tunnel session of {node} ended: {reason}",
            node=node,
            peer=peer,
            epoch=session.epoch,
            replica=self._replica,
            reason=reason,
        )

    def superseded(self, node: str, epoch: int) -> None:
        """Another replica has a newer session of the node: end the session here once its streams have
        finished."""
        session = self.nodes.get(node)
        if session is not None and session.epoch < epoch:
            self.nodes.remove(session)
            session.go_away()
            in_background(self._retire(session), _log, "a session that moved on was not ended")

    async def _retire(self, session: NodeSession) -> None:
        await drained(self._reactor, lambda: session.busy, self._config.drain_timeout)
        session.close("a newer session of the same node is on another replica")

    # -- life

    def startService(self) -> None:
        """Listen for edge nodes."""
        super().startService()
        self._meter.start()
        service = self
        settings = replace(mux_settings(self._config.limits), peer_streams=1)  # control

        class Sessions(Factory):
            noisy = False

            def buildProtocol(self, addr: IAddress | None) -> Any:
                connection = EdgeConnection(
                    service._reactor,
                    dialer=False,
                    settings=settings,
                    accept=lambda stream: stream.connect(ControlProtocol(connection)),
                )
                connection.service = service
                return connection

        endpoint = ServerEndpoint(
            self._reactor, parse_address(self._config.listen), self._tls, self._handshake_failed
        )
        self._listening(endpoint.listen_now(cast(Any, Sessions())))

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        _log.info("tunnel waits for edge nodes on {address}", address=address_text(port.getHost()))

    def _handshake_failed(self, peer: IAddress, reason: str) -> None:
        metrics.SESSIONS_REFUSED.labels("cloud").inc()
        _log.warn("refused tunnel connection from {peer}: {reason}", peer=address_text(peer), reason=reason)

    def start_draining(self) -> None:
        """Accept no more edges, and ask the connected ones to connect elsewhere; their streams stay open."""
        if self._draining:
            return
        self._draining = True
        if self._port is not None:
            self._port.stopListening()
        for mux in list(self._connections):
            mux.go_away()

    async def drain(self) -> None:
        """Ask the edges to connect elsewhere, and wait until open streams have finished or ``drain_timeout``
        is over.

        The timeout starts at the first call.
        """
        self.start_draining()
        now = self._reactor.seconds()
        if self._drained_by is None:
            self._drained_by = now + self._config.drain_timeout
        await drained(self._reactor, self._busy, self._drained_by - now)

    async def stopService(self) -> None:
        """Drain, then close."""
        super().stopService()
        self._meter.stop()
        await self.drain()
        for mux in list(self._connections):
            mux.close("the cloud end is stopping")

    def _busy(self) -> bool:
        # The control stream alone keeps no session.
        return any(mux.stream_count > 1 for mux in self._connections)
