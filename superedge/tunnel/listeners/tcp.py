"""``tcp``: the listener that connects every caller to one address on one node."""

from __future__ import annotations

from superedge.config.listeners import TCPListenerConfig
from superedge.interfaces import IReactor
from superedge.tunnel.cloud import Tunnel
from superedge.tunnel.listeners.base import CallerProtocol, Listener


class _Caller(CallerProtocol):
    listener: TCPListener

    def connectionMade(self) -> None:
        config = self.listener.config
        self.route(config.node.lower(), config.target)


class TCPListener(Listener):
    """Connects every caller to the configured node and target."""

    kind = "tcp"

    def __init__(self, reactor: IReactor, tunnel: Tunnel, config: TCPListenerConfig) -> None:
        super().__init__(reactor, tunnel, config, idle_timeout=config.idle_timeout)
        self.config = config

    def make_protocol(self) -> CallerProtocol:
        return _Caller(self)
