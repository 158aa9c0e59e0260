"""``tls``: routes by the server name asked for and never decrypts."""

from __future__ import annotations

from superedge.config.listeners import TlsListenerConfig
from superedge.interfaces import IReactor
from superedge.tunnel.cloud import Tunnel
from superedge.tunnel.listeners.base import AskingCaller, CallerProtocol, Listener
from superedge.tunnel.listeners.sni import ClientHelloReader, NotTLS


class _Caller(AskingCaller):
    listener: TlsListener

    def connectionMade(self) -> None:
        super().connectionMade()
        self._reader = ClientHelloReader()

    def late(self) -> None:
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
        self.asked()
        node = self.listener.find_node(name, self.listener.config.suffixes)
        if node is None:
            self._refuse(f"name: no connected node is called {name!r}")
            return
        self.enter(node, self.listener.config.target, self._reader.received)


class TlsListener(Listener):
    """The caller's own TLS, and its client certificate, reach the target untouched."""

    kind = "tls"

    def __init__(self, reactor: IReactor, tunnel: Tunnel, config: TlsListenerConfig) -> None:
        super().__init__(reactor, tunnel, config, idle_timeout=config.idle_timeout)
        self.config = config

    def make_protocol(self) -> CallerProtocol:
        """A caller whose hello is awaited."""
        return _Caller(self)
