"""``connect``: the egress selector's door, over mutual TLS or a Unix socket."""

from __future__ import annotations

from superedge.config.addresses import TCPAddress
from superedge.config.listeners import ConnectListenerConfig
from superedge.interfaces import IReactor
from superedge.mux.stream import MuxStream
from superedge.net.names import strip_suffix
from superedge.tls.contexts import ServerContextSource
from superedge.tls.reload import FileWatcher
from superedge.tunnel.cloud import Tunnel
from superedge.tunnel.directory import NodeDirectory, Place
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.base import AskingCaller, CallerProtocol, Listener
from superedge.tunnel.listeners.connect_request import ESTABLISHED, ConnectReader
from superedge.tunnel.listeners.refusals import STATUS, BadRequest, refusal


class _Caller(AskingCaller):
    listener: ConnectListener

    def connectionMade(self) -> None:
        super().connectionMade()
        self._reader = ConnectReader()

    def late(self) -> None:
        self._refuse(400, "head: no request in time")

    def _refuse(self, status: int, reason: str) -> None:
        self.asked()
        self.listener.refused(self.transport.getPeer(), reason)
        self._answer(status, reason)

    def _answer(self, status: int, reason: str) -> None:
        self.transport.write(refusal(status, reason))
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        try:
            request = self._reader.feed(data)
        except BadRequest as problem:
            self._refuse(problem.status, f"request: {problem}")
            return
        if request is None:
            return
        # Only now: an answer before the request is read may be lost in the reset that follows.
        if not self.listener.knows_client(self.transport.peer_common_name):
            self._refuse(403, f"client: {self.transport.peer_common_name!r} is not in client_names")
            return
        self.asked()
        target, rest = request
        place = self.listener.locate(target.host)
        if place is None:
            reason = f"no connected node is called {target.host}"
            self.listener.refused(self.transport.getPeer(), f"name: {reason}")
            self._answer(404, reason)
            return
        host = place.host or self.listener.config.node_host
        self.enter(place.node, str(TCPAddress(host, target.port)), rest)

    def opened(self, stream: MuxStream) -> None:
        self.transport.write(ESTABLISHED)

    def failed(self, problem: DialError) -> None:
        self._answer(STATUS[problem.code], f"{problem.code}: {problem.message}")


class ConnectListener(Listener):
    """Routes on the request's target; its Host header is constant and means nothing."""

    kind = "connect"

    def __init__(
        self,
        reactor: IReactor,
        tunnel: Tunnel,
        config: ConnectListenerConfig,
        watcher: FileWatcher,
        directory: NodeDirectory | None = None,
    ) -> None:
        """``directory``: where targets may be that are addresses."""
        tls = None
        if config.certificate is not None and config.key is not None:
            tls = ServerContextSource(config.certificate, config.key, config.client_ca, "required")
            watcher.watch_context(tls)
        super().__init__(reactor, tunnel, config, tls, int(config.mode, 8))
        self.config = config
        self._directory = directory
        self._secured = tls is not None

    def make_protocol(self) -> CallerProtocol:
        """A caller whose request is awaited."""
        return _Caller(self)

    def locate(self, host: str) -> Place | None:
        """What a target's host leads to: a connected node, one that exists, a node's or a pod's address."""
        node = self.find_node(host, self.config.suffixes)
        if node is not None:
            return Place(node)
        directory = self._directory
        if directory is None:
            return None
        names = (name for name in strip_suffix(host, self.config.suffixes) if directory.exists(name))
        known = next(names, None)
        return Place(known) if known is not None else directory.locate(host)

    def knows_client(self, common_name: str | None) -> bool:
        """Whether a certificate's name is let in; a Unix socket's permissions say who is."""
        names = self.config.client_names
        return not self._secured or not names or common_name in names
