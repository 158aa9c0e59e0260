"""``tls``: routes by the server name asked for and never decrypts."""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from superedge.config.addresses import parse_address
from superedge.config.tunnel import TlsListenerConfig
from superedge.interfaces import IReactor
from superedge.tunnel.cloud import Tunnel
from superedge.tunnel.listeners.base import CallerProtocol, Listener
from superedge.tunnel.listeners.sni import ClientHelloReader, NotTLS

HELLO_TIMEOUT = 10.0


class _Caller(CallerProtocol):
    listener: TlsListener
    _deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._reader = ClientHelloReader()
        self._deadline = self.listener.reactor.callLater(HELLO_TIMEOUT, self._late)

    def _late(self) -> None:
        self._deadline = None
        self._refuse("hello: no ClientHello in time")

    def _refuse(self, reason: str) -> None:
        self.listener.refused(self.transport.getPeer(), reason)
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        try:
            name = self._reader.feed(data)
        except NotTLS as problem:
            self._refuse(f"hello: {problem}")
            return
        if name is None:
            return
        self._cancel()
        node = self.listener.find_node(name, self.listener.config.suffixes)
        if node is None:
            self._refuse(f"name: no connected node is called {name!r}")
            return
        self.enter(node, self.listener.config.target, self._reader.received)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._cancel()
        super().connectionLost(reason)


class TlsListener(Listener):
    """The caller's own TLS, and its client certificate, reach the target untouched."""

    kind = "tls"

    def __init__(self, reactor: IReactor, tunnel: Tunnel, config: TlsListenerConfig) -> None:
        super().__init__(
            reactor,
            tunnel,
            parse_address(config.listen),
            config.allow,
            config.dial_timeout,
            bandwidth=config.bandwidth,
            idle_timeout=config.idle_timeout,
        )
        self.config = config

    def make_protocol(self) -> CallerProtocol:
        """A caller whose hello is awaited."""
        return _Caller(self)
