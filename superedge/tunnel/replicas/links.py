"""Links between replicas: one connection to each replica that requests are forwarded to, and a listener for
theirs.

A link is a yamux session as between edge and cloud, over mutual TLS with its own ALPN. The dialler opens
streams; each begins with a prologue that names the node. See docs/protocol.md, "Between replicas".
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.config.addresses import parse_address
from superedge.config.tunnel import LimitsConfig, TunnelCloudConfig
from superedge.interfaces import IReactor
from superedge.mux.protocol import MuxConnection
from superedge.mux.stream import MuxStream
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.net.errors import ConnectError
from superedge.net.factory import CallableFactory
from superedge.net.sockets import address_text
from superedge.reactor.draining import drained
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from superedge.tls.reload import FileWatcher
from superedge.tunnel import metrics
from superedge.tunnel.cloud import TunnelCloud
from superedge.tunnel.dial import dial
from superedge.tunnel.dialslots import DialSlots
from superedge.tunnel.errors import DialError
from superedge.tunnel.limits import mux_settings
from superedge.tunnel.messages import DialRequest, ForwardRequest
from superedge.tunnel.replicas.records import Replica
from superedge.tunnel.serve import StreamServer

ALPN = "superedge-replica/1"
CONNECT_TIMEOUT = 5.0
MAX_STREAMS = 65536
"""Streams on one link, which carries the streams of all nodes of a replica."""

_log = Logger()


class _ForwardedStreamServer(StreamServer):
    """Serves streams from another replica. Each goes to a session on this replica, never to a third one."""

    end = "replica"
    request = ForwardRequest

    def __init__(self, reactor: IReactor, tunnel: TunnelCloud, limits: LimitsConfig) -> None:
        super().__init__(reactor, {}, limits)
        self._tunnel = tunnel
        self._pending = DialSlots(limits.streams)

    async def _connect(self, request: DialRequest) -> MuxStream:
        assert isinstance(request, ForwardRequest)
        outcome = "opened"
        try:
            if request.hops != 1:
                raise DialError("denied", f"a request is forwarded once, this one {request.hops} times")
            # Nodes share the link's slots; the targets and callers of a node share the node's slots.
            self._pending.acquire(request.node, "")
            try:
                return await self._tunnel.open(
                    request.node,
                    request.address,
                    timeout=request.timeout,
                    kind=request.kind,
                    caller=request.caller,
                )
            finally:
                self._pending.release(request.node, "")
        except DialError as problem:
            outcome = problem.code
            raise
        except CancelledError:
            outcome = "cancelled"
            raise
        finally:
            metrics.FORWARDED.labels("in", outcome).inc()


def _refuse(peer: object, reason: str) -> None:
    metrics.SESSIONS_REFUSED.labels("replica").inc()
    _log.warn("refused connection of a replica from {peer}: {reason}", peer=address_text(peer), reason=reason)


def _refusal(connection: MuxConnection, names: Collection[str], tunnel: TunnelCloud) -> str | None:
    """Why the peer is not accepted as a replica; None if it is."""
    transport: Any = connection.transport
    if transport.alpn != ALPN:
        return f"it does not speak {ALPN}"
    if transport.peer_common_name not in names:
        return f"no replica's certificate: CN {transport.peer_common_name!r} is not in names"
    if not tunnel.admits(transport):
        return f"the certificate of {transport.peer_common_name} is denied"
    return None


class _Accepted(MuxConnection):
    """A link that another replica dialled. Its certificate is checked before it carries streams."""

    owner: ReplicaLinks

    def connectionMade(self) -> None:
        transport: Any = self.transport
        refusal = _refusal(self, self.owner.names, self.owner.tunnel)
        if refusal is not None:
            _refuse(transport.getPeer(), refusal)
            transport.abortConnection()
            return
        super().connectionMade()
        self.owner.link_started(self)


class ReplicaLinks(Service):
    """Forwards streams to other replicas, and serves the streams that they forward."""

    name = "tunnel-replica-links"

    def __init__(
        self,
        reactor: IReactor,
        tunnel: TunnelCloud,
        config: TunnelCloudConfig,
        watcher: FileWatcher,
    ) -> None:
        """Raises IdentityError when the TLS files are not usable."""
        replicas = config.replicas
        assert replicas is not None
        self._reactor = reactor
        self.tunnel = tunnel
        certificate, key = replicas.certificate or config.certificate, replicas.key or config.key
        self._server_tls = ServerContextSource(certificate, key, replicas.ca, "required", [ALPN])
        self._client_tls = ClientContextSource(replicas.ca, certificate, key, [ALPN])
        for source in (self._server_tls, self._client_tls):
            watcher.watch_context(source)
        self._limits = config.limits
        self._settings = replace(mux_settings(config.limits), max_streams=MAX_STREAMS)
        self._drain_timeout = config.drain_timeout
        self._listen = parse_address(replicas.listen)
        self.names = frozenset(replicas.names)
        self._server_name = replicas.server_name or replicas.names[0]
        self._port: IListeningPort | None = None
        self._dialled: dict[str, MuxConnection] = {}
        self._dialling: dict[str, list[Deferred[MuxConnection]]] = {}
        self._under_way: set[str] = set()
        self._links: set[MuxConnection] = set()
        self._meter = metrics.SessionMeter(reactor, "replica", lambda: self._links)

    @property
    def address(self) -> Any:
        """Where it listens."""
        assert self._port is not None
        return self._port.getHost()

    # -- forwarding

    async def open(self, replica: Replica, node: str, request: DialRequest) -> MuxStream:
        """A paused stream to the request's address on a node that ``replica`` holds. Raises DialError."""
        outcome = "opened"
        try:
            link = await self._link(replica)
            forward = ForwardRequest(
                request.kind, request.address, request.timeout, request.caller, node=node
            )
            return await dial(link, forward)
        except DialError as problem:
            outcome = problem.code
            raise
        except CancelledError:
            outcome = "cancelled"
            raise
        finally:
            metrics.FORWARDED.labels("out", outcome).inc()

    async def _link(self, replica: Replica) -> MuxConnection:
        key = str(replica.peer)
        link = self._dialled.get(key)
        if link is not None and not link.exhausted:
            return link
        waiters = self._dialling.setdefault(key, [])
        # A caller that cancels ends its own wait, not the dial that other callers wait for.
        waiting: Deferred[MuxConnection] = Deferred(waiters.remove)
        waiters.append(waiting)
        if len(waiters) == 1 and key not in self._under_way:
            self._under_way.add(key)
            Deferred.fromCoroutine(self._dial(replica)).addBoth(self._finish, key)
        try:
            return await waiting
        except ConnectError as problem:
            raise DialError(
                "not-connected", f"replica {replica.name}, which holds the node, cannot be reached: {problem}"
            ) from problem

    def _finish(self, result: MuxConnection | Failure, key: str) -> None:
        self._under_way.discard(key)
        for waiting in list(self._dialling.pop(key)):
            if not waiting.called:
                waiting.callback(result)
        if isinstance(result, Failure) and result.check(ConnectError) is None:
            _log.failure("dialling replica at {address} failed", result, address=key)

    async def _dial(self, replica: Replica) -> MuxConnection:
        def make() -> MuxConnection:
            settings = replace(self._settings, peer_streams=0)  # only the dialler opens streams
            return MuxConnection(
                self._reactor, dialer=True, settings=settings, accept=MuxStream.abortConnection
            )

        factory = CallableFactory(make)
        endpoint = ClientEndpoint(
            self._reactor, replica.peer, self._client_tls, self._server_name, CONNECT_TIMEOUT
        )
        link = cast(MuxConnection, await endpoint.connect(cast(Any, factory)))
        refusal = _refusal(link, self.names, self.tunnel)
        if refusal is not None:
            link.abort(refusal)
            raise ConnectError(f"{replica.peer}: {refusal}")
        key = str(replica.peer)
        self._dialled[key] = link
        link.when_closed().addCallback(self._forget, key, link)
        self.link_started(link)
        return link

    def _forget(self, _reason: str, key: str, link: MuxConnection) -> None:
        if self._dialled.get(key) is link:
            del self._dialled[key]

    # -- both directions

    def link_started(self, link: MuxConnection) -> None:
        """A link is established, in either direction."""
        self._links.add(link)
        peer = address_text(link.peer)
        metrics.SESSIONS_STARTED.labels("replica").inc()
        _log.info("link with replica at {peer} started", peer=peer)

        def ended(reason: str) -> None:
            self._links.discard(link)
            self._meter.account(link, ended=True)
            _log.info("link with replica at {peer} ended: {reason}", peer=peer, reason=reason)

        link.when_closed().addCallback(ended)

    # -- life

    def startService(self) -> None:
        """Listen. Raises ConnectError when the address is not available."""
        super().startService()
        self._meter.start()
        streams = _ForwardedStreamServer(self._reactor, self.tunnel, self._limits)

        def make() -> MuxConnection:
            link = _Accepted(self._reactor, dialer=False, settings=self._settings, accept=streams.accept)
            link.owner = self
            return link

        endpoint = ServerEndpoint(self._reactor, self._listen, self._server_tls, _refuse)
        self._listening(endpoint.listen_now(cast(Any, CallableFactory(make))))

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        _log.info("tunnel waits for other replicas on {address}", address=address_text(port.getHost()))

    async def stopService(self) -> None:
        """Wait a bounded time for streams to finish, then close the links."""
        super().stopService()
        self._meter.stop()
        await drained(
            self._reactor, lambda: any(link.stream_count for link in self._links), self._drain_timeout
        )
        if self._port is not None:
            self._port.stopListening()
        for link in list(self._links):
            link.close("the replica is stopping")
