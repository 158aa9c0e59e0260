"""``http`` and ``https``: the listeners that route each HTTP request to the node that it names."""

from __future__ import annotations

from twisted.internet.protocol import Protocol

from superedge.config.listeners import HTTPListenerConfig, HTTPSListenerConfig
from superedge.interfaces import IReactor
from superedge.reactor.periodic import PeriodicCall
from superedge.tls.contexts import ServerContextSource
from superedge.tls.denied import DenyList
from superedge.tls.reload import FileWatcher
from superedge.tunnel import metrics
from superedge.tunnel.cloud import Tunnel
from superedge.tunnel.listeners.base import Listener
from superedge.tunnel.listeners.http_exchange import Exchange, respond
from superedge.tunnel.listeners.http_request import forwarded
from superedge.tunnel.listeners.refusals import BadRequest
from superedge.tunnel.listeners.upstreams import Target, Upstreams
from superedge.web.idle import idle_client_check
from superedge.web.server import ServerFactory
from superedge.web.serverrequest import Request

CHECKS = 5
"""Checks of idle connections to targets in one idle timeout."""


class HTTPListener(Listener):
    """Routes plain HTTP. A caller's connection may carry requests for different nodes."""

    kind = "http"

    def __init__(
        self,
        reactor: IReactor,
        tunnel: Tunnel,
        config: HTTPListenerConfig | HTTPSListenerConfig,
        tls: ServerContextSource | None = None,
    ) -> None:
        super().__init__(reactor, tunnel, config, tls)
        self._config = config
        self._stream_kind = "tcp"
        self._targets = {int(port): target for port, target in config.ports.items()}
        self._server = ServerFactory(self.handle)
        self._upstreams = Upstreams(reactor, tunnel, config.dial_timeout)
        self._periodic = [
            idle_client_check(reactor, self._server, config.idle_timeout),
            PeriodicCall(reactor, config.idle_timeout / CHECKS, self._close_idle),
        ]

    def make_protocol(self) -> Protocol:
        return self._server.buildProtocol(None)

    def startService(self) -> None:
        """Listen. Raises ConnectError when the address is not available."""
        super().startService()
        for each in self._periodic:
            each.start()

    def draining(self) -> None:
        """Close the idle connections to targets, and keep none from now on."""
        self._upstreams.close()

    def stopService(self) -> None:
        """Accept no more callers. Each connection closes after its current response."""
        super().stopService()
        for each in self._periodic:
            each.stop()
        self._server.close_idle()
        self._upstreams.close()

    def _close_idle(self) -> None:
        self._upstreams.close_idle(self.reactor.seconds() - self._config.idle_timeout)

    # -- requests

    def handle(self, request: Request) -> None:
        """Forward a request to the node that it names, or refuse it with the reason."""
        if not self.allows_client(request):
            self._refuse(request, 403, "client", "this client certificate is not allowed")
            return
        try:
            wanted = forwarded(request.head)
        except BadRequest as problem:
            self._refuse(request, problem.status, "request", str(problem))
            return
        node = self.find_node(wanted.host, self._config.suffixes)
        if node is None:
            cause = f"no connected node is called {wanted.host}"
            self._refuse(request, 404, "name", cause, wanted.has_body)
            return
        address = self._targets.get(wanted.port or 0, self._config.target)
        if not address:
            cause = f"port {wanted.port} is not configured" if wanted.port else "the host needs a port"
            self._refuse(request, 404, "port", cause, wanted.has_body)
            return
        target = Target(node, address, self._stream_kind)
        Exchange(request, wanted, target, self._upstreams, self.limits, self._answered).begin()

    def allows_client(self, request: Request) -> bool:
        """Whether the caller's certificate is allowed; always so without TLS."""
        return True

    def _refuse(self, request: Request, status: int, reason: str, cause: str, last: bool = True) -> None:
        self.refused(request.transport.getPeer(), f"{reason}: {cause}")
        self._answered(status)
        if last:
            request.close_after()
        respond(request, status, cause)

    def _answered(self, status: int) -> None:
        metrics.HTTP_RESPONSES.labels(self.kind, str(status)).inc()


class HTTPSListener(HTTPListener):
    """Terminates the callers' TLS. The node opens TLS to the target, with its own certificate."""

    kind = "https"

    def __init__(
        self,
        reactor: IReactor,
        tunnel: Tunnel,
        config: HTTPSListenerConfig,
        watcher: FileWatcher,
        denied: DenyList | None = None,
    ) -> None:
        """Callers with a ``denied`` certificate are refused."""
        tls = ServerContextSource(
            config.certificate,
            config.key,
            config.client_ca,
            "required" if config.client_ca else "none",
            ["http/1.1"],
        )
        watcher.watch_context(tls)
        super().__init__(reactor, tunnel, config, tls)
        self._names = frozenset(config.client_names)
        self._denied = denied
        self._stream_kind = "tls" if config.target_tls else "tcp"

    def allows_client(self, request: Request) -> bool:
        """Whether the caller's certificate has an allowed name and is not denied."""
        if self._denied is not None and not self._denied.admit(request.transport):
            return False
        return not self._names or request.transport.peer_common_name in self._names
