"""The edge service: keeps one session with the cloud, and dials again when it is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from superedge import __version__
from superedge.config.addresses import TCPAddress, parse_address, parse_proxy
from superedge.config.tunnel import TunnelEdgeConfig
from superedge.errors import IdentityError
from superedge.interfaces import IReactor
from superedge.mux.protocol import MuxConnection
from superedge.net.bucket import TokenBucket
from superedge.net.endpoints import ClientEndpoint
from superedge.net.errors import ConnectError, ConnectTimeout
from superedge.net.factory import CallableFactory
from superedge.net.failover import connect_to_any
from superedge.net.httpproxy import HTTPProxy, ProxiedEndpoint
from superedge.net.localaddresses import own_addresses
from superedge.net.servers import Servers
from superedge.net.sockets import address_text
from superedge.reactor.draining import drained
from superedge.reactor.loops import Loop
from superedge.tls.contexts import ClientContextSource
from superedge.tls.identity import load_certificates
from superedge.tls.reload import FileWatcher
from superedge.tunnel import metrics
from superedge.tunnel.allow import AllowList
from superedge.tunnel.edgesession import EdgeSession
from superedge.tunnel.handlers import TCPHandler, TLSHandler
from superedge.tunnel.limits import mux_settings
from superedge.tunnel.messages import Hello
from superedge.tunnel.names import ALPN
from superedge.tunnel.redial import Redial
from superedge.tunnel.serve import StreamServer

INITIAL_ATTEMPTS = 6
"""Number of short delays before delays grow: a restarted cloud end is back within a few seconds."""
CONNECT_TIMEOUT = 10.0
"""Seconds to connect to one server."""
NEXT_SERVER_DELAY = 2.0
"""Seconds without an answer after which the next server is tried concurrently."""
SERVER_PENALTY = 60.0
"""Seconds for which a server that could not be reached is tried after the others."""

_INSTANCE = token_hex(16)

_log = Logger()


class TunnelEdge(Service):
    """Dials the cloud's addresses in turn, forever, and serves the streams the cloud opens."""

    name = "tunnel-edge"

    def __init__(
        self,
        reactor: IReactor,
        config: TunnelEdgeConfig,
        watcher: FileWatcher,
        handlers: Mapping[str, Any] | None = None,
    ) -> None:
        """``handlers`` are additional `IStreamHandler` by kind. Raises IdentityError."""
        self._reactor = reactor
        self._config = config
        self._tls = ClientContextSource(config.ca, config.certificate, config.key, [ALPN])
        watcher.watch_context(self._tls)
        allow = AllowList(config.allow, own_addresses())
        self._handlers: dict[str, Any] = {"tcp": TCPHandler(allow), **(handlers or {})}
        if config.tls is not None:
            source = ClientContextSource(config.tls.ca, config.tls.certificate, config.tls.key)
            watcher.watch_context(source)
            self._handlers["tls"] = TLSHandler(allow, source, config.tls.server_name)
        self._connections: set[MuxConnection] = set()
        self._active = 0
        self._was_connected = False
        self._meter = metrics.SessionMeter(reactor, "edge", lambda: self._connections, lambda: self._active)
        self._loop = Loop(reactor, "dialling the tunnel's cloud", self._run)
        self._redial = Redial(config.reconnect_initial, config.reconnect_maximum, INITIAL_ATTEMPTS)
        self._refused_at_once = False
        """Whether a server refused the last dial, so that not every attempt timed out."""
        self._pause_ended: Deferred[None] | None = None
        addresses = [cast(TCPAddress, parse_address(server)) for server in config.servers]
        rate = config.limits.bandwidth
        self._bandwidth = TokenBucket(rate, reactor.seconds()) if rate else None
        self._servers = Servers(addresses, round_robin=True, penalty=SERVER_PENALTY)
        self._proxy: HTTPProxy | None = None
        if config.proxy:
            address, credentials = parse_proxy(config.proxy)
            self._proxy = HTTPProxy(address, credentials, config.proxy_credentials)
            self._proxy.credentials()
        self.connected_to: str | None = None
        """The server of the current session."""
        self.problem = ""
        """Why a server could not be reached last, began no session or ended it, if it said so; empty from the
        beginning of a session on.
        """

    def startService(self) -> None:
        """Begin to dial."""
        super().startService()
        self._meter.start()
        self._loop.start()

    async def stopService(self) -> None:
        """Stop dialling, serve until no stream is open or ``drain_timeout`` is over, and end the sessions."""
        super().stopService()
        self._meter.stop()
        self._loop.stop()
        await drained(self._reactor, self._busy, self._config.drain_timeout)
        for connection in list(self._connections):
            connection.close("the edge is stopping")

    def _busy(self) -> bool:
        # The control stream alone keeps no session.
        return any(connection.stream_count > 1 for connection in self._connections)

    def waits_for(self) -> str:
        """For the readiness page: without a session no caller reaches this node."""
        if self._active:
            return ""
        return f"a tunnel session: {self.problem}" if self.problem else "a tunnel session"

    def status(self) -> dict[str, object]:
        """For the status page."""
        return {
            "server": self.connected_to,
            "connections": len(self._connections),
            "servers": self._config.servers,
            "problem": self.problem,
        }

    async def _run(self) -> None:
        while True:
            self._loop.iteration_done(CONNECT_TIMEOUT * len(self._config.servers))
            reached = await self._connect_to_any()
            if reached is not None:
                self._loop.iteration_done()  # the session's own keepalive says how long it lasts
                started = self._reactor.seconds()
                sent_away = await self._run_session(*reached)
                self.connected_to = None
                now = self._reactor.seconds()
                # A server that sends every session away at once must not be dialled in a busy loop.
                if sent_away and now - started >= self._config.reconnect_initial:
                    continue
                delay = self._redial.ended(now, now - started, reached[0].rtt is not None)
            else:
                delay = self._redial.failed(self._reactor.seconds(), self._refused_at_once)
            self._loop.iteration_done(delay)
            await self._pause(delay)

    async def _pause(self, seconds: float) -> None:
        """Wait ``seconds``, or until a drained session ends: its server may accept sessions again."""
        self._pause_ended = Deferred()
        timer = self._reactor.callLater(seconds, self._pause_ended.callback, None)
        try:
            await self._pause_ended
        finally:
            self._pause_ended = None
            if timer.active():
                timer.cancel()

    async def _connect_to_any(self) -> tuple[MuxConnection, TCPAddress] | None:
        """A connection to the first server that works; each call begins at the next server."""
        self._refused_at_once = False

        async def connect(server: TCPAddress) -> tuple[MuxConnection, TCPAddress]:
            return await self._connect(server), server

        try:
            return await connect_to_any(
                self._reactor,
                self._servers,
                lambda server: Deferred.fromCoroutine(connect(server)),
                NEXT_SERVER_DELAY,
                self._server_failed,
            )
        except ConnectError:
            return None  # _server_failed has logged each server's reason

    def _server_failed(self, server: TCPAddress, problem: ConnectError) -> None:
        self._refused_at_once = self._refused_at_once or not isinstance(problem, ConnectTimeout)
        self.problem = f"tunnel to {server} failed: {problem}"
        _log.warn("tunnel to {server} failed: {reason}", server=str(server), reason=str(problem))

    async def _connect(self, server: TCPAddress) -> MuxConnection:
        limits = self._config.limits
        streams = StreamServer(self._reactor, self._handlers, limits)

        def make() -> MuxConnection:
            connection = MuxConnection(
                self._reactor, dialer=True, settings=mux_settings(limits), accept=streams.accept
            )
            connection.bandwidth = self._bandwidth
            return connection

        name = self._config.server_name or None
        if self._proxy is None:
            endpoint = ClientEndpoint(self._reactor, server, self._tls, name, CONNECT_TIMEOUT)
        else:
            endpoint = ProxiedEndpoint(self._reactor, server, self._proxy, self._tls, name, CONNECT_TIMEOUT)
        connection = cast(MuxConnection, await endpoint.connect(cast(Any, CallableFactory(make))))
        transport: Any = connection.transport
        if transport is not None and transport.alpn != ALPN:
            connection.abort("the server does not speak the tunnel protocol")
            raise ConnectError(f"{server} does not speak {ALPN}")
        return connection

    async def _run_session(self, first: MuxConnection, server: TCPAddress) -> bool:
        """Run a session until it ends (False) or the cloud asks to connect elsewhere (True)."""
        config = self._config
        session = EdgeSession(
            self._reactor,
            lambda: Deferred.fromCoroutine(self._connect(server)),
            self._hello,
            lambda: Redial(config.reconnect_initial, config.reconnect_maximum),
            self._connections.add,
            self._lost,
            self._refused,
        )
        accepted = False
        try:
            session.begin(first, config.connections)
            # In TLS 1.3 the client's handshake ends before the server has checked the client's certificate.
            accepted = await first.when_established()
            if accepted:
                self._accepted(server)
            else:
                self._servers.failed(server, self._reactor.seconds())
            return await session.ended
        finally:
            self._active -= accepted
            session.stop()

    def _accepted(self, server: TCPAddress) -> None:
        """The cloud's first frame has come: the session is established."""
        self._servers.connected(server)
        self.connected_to = str(server)
        self.problem = ""
        self._active += 1
        metrics.SESSIONS_STARTED.labels("edge").inc()
        if self._was_connected:
            metrics.RECONNECTS.labels("edge").inc()
        self._was_connected = True
        _log.info("tunnel session started with {server}", server=str(server))

    def _refused(self, connection: MuxConnection, reason: str) -> None:
        if self.running:  # otherwise this end stops
            metrics.SESSIONS_REFUSED.labels("edge").inc()
            peer = address_text(connection.peer)
            if not self._active:
                self.problem = f"the cloud at {peer} began none: {reason}"
            _log.warn(
                "the cloud at {peer} refused the session: {reason}; certificate {path}, subject {subject}",
                peer=peer,
                reason=reason,
                path=str(self._config.certificate),
                subject=_subject(self._config.certificate),
            )

    def _hello(self, session: str, joins: bool) -> Hello:
        return Hello(
            version=__version__,
            boot_id=_boot_id(),
            addresses=own_addresses(),
            capabilities=sorted(self._handlers),
            session=session,
            instance=_INSTANCE,
            joins=joins,
        )

    def _lost(self, connection: MuxConnection, told: str) -> None:
        if told and connection.established:
            self.problem = f"the cloud at {address_text(connection.peer)} ended the session: {told}"
        self._connections.discard(connection)
        self._meter.account(connection, ended=True)
        if self._pause_ended is not None and not self._pause_ended.called:
            self._pause_ended.callback(None)


def _subject(certificate: Path) -> str:
    """The subject of the certificate that the file contains now."""
    try:
        leaf = load_certificates(certificate)[0]
    except IdentityError as problem:
        return f"unknown: {problem}"
    names = [f"CN={name}" for name in leaf.common_names]
    return ", ".join([*names, *(f"O={name}" for name in leaf.organizations)]) or "without a name"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
