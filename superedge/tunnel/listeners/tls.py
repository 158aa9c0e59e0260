"""``tls``: the listener that routes TLS by server name (SNI), without decrypting it."""

from __future__ import annotations

from superedge.config.listeners import TLSListenerConfig
from superedge.interfaces import IReactor
from superedge.tunnel.cloud import Tunnel
from superedge.tunnel.listeners.base import CallerProtocol, Listener, RequestCaller
from superedge.tunnel.listeners.sni import ClientHelloReader, NotTLS


class _Caller(RequestCaller):
    listener: TLSListener

    def connectionMade(self) -> None:
        super().connectionMade()
        self._reader = ClientHelloReader()

    def request_timed_out(self) -> None:
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
        self.request_received()
        node = self.listener.find_node(name, self.listener.config.suffixes)
        if node is None:
            self._refuse(f"name: no connected node is called {name!r}")
            return
        self.route(node, self.listener.config.target, self._reader.received)


class TLSListener(Listener):
    """Passes the caller's TLS through: the target sees the caller's own client certificate."""

    kind = "tls"

    def __init__(self, reactor: IReactor, tunnel: Tunnel, config: TLSListenerConfig) -> None:
        super().__init__(reactor, tunnel, config, idle_timeout=config.idle_timeout)
        self.config = config

    def make_protocol(self) -> CallerProtocol:
        return _Caller(self)
