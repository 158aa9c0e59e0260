"""``connect``: the listener for kube-apiserver's egress selector, over mutual TLS or a Unix socket."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, cast

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.listeners import INTERNAL_IP, ConnectListenerConfig, split_access
from superedge.interfaces import IReactor
from superedge.mux.stream import MuxStream
from superedge.net.names import strip_suffix
from superedge.tls.contexts import ServerContextSource
from superedge.tls.denied import DenyList
from superedge.tls.reload import FileWatcher
from superedge.tunnel.cloud import Tunnel
from superedge.tunnel.directory import Location, NodeDirectory
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.base import CallerProtocol, Listener, RequestCaller
from superedge.tunnel.listeners.connect_request import ESTABLISHED, ConnectReader
from superedge.tunnel.listeners.refusals import STATUS, BadRequest, refusal

MAX_HOSTS = 4
"""Hosts of one node that are tried for one caller."""
MAX_REACHED = 20000
"""Nodes for which the host that answered last is kept."""


class _Caller(RequestCaller):
    listener: ConnectListener
    caller_waits = True

    def connectionMade(self) -> None:
        super().connectionMade()
        self._reader = ConnectReader()

    def request_timed_out(self) -> None:
        self._refuse(400, "head: no request in time")

    def _refuse(self, status: int, reason: str) -> None:
        self.request_received()
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
        # Not earlier: a response before the request is read may be lost in the reset that follows.
        if not self.listener.admits(self.transport):
            self._refuse(403, f"denied: the certificate of {self.transport.peer_common_name!r} is denied")
            return
        if not self.listener.knows_client(self.transport.peer_common_name):
            self._refuse(403, f"client: {self.transport.peer_common_name!r} is not in client_names")
            return
        self.request_received()
        target, rest = request
        place = self.listener.locate(target.host)
        if place is None:
            reason = f"no connected node is called {target.host}"
            self.listener.refused(self.transport.getPeer(), f"name: {reason}")
            self._answer(404, reason)
            return
        name = self.transport.peer_common_name
        if not self.listener.may_reach(name, place.node, target.port):
            self._refuse(403, f"access: {name!r} may not reach port {target.port} of {place.node}")
            return
        first, *others = (str(TCPAddress(host, target.port)) for host in self.listener.hosts(place))
        self.route(place.node, first, rest, others=others)

    def reached(self, node: str, target: str) -> None:
        self.listener.reached(node, cast(TCPAddress, parse_address(target)).host)

    def opened(self, stream: MuxStream) -> None:
        self.transport.write(ESTABLISHED)

    def failed(self, problem: DialError) -> None:
        self._answer(STATUS[problem.code], f"{problem.code}: {problem.message}")


class _Access(NamedTuple):
    """Globs of a caller's common name and of a node's name; None for any port."""

    caller: str
    node: str
    port: int | None


def _access(text: str) -> _Access:
    caller, node, port = split_access(text)
    return _Access(caller, node.lower(), None if port == "*" else int(port))


class ConnectListener(Listener):
    """Routes by the request's target. The Host header is constant and is ignored."""

    kind = "connect"

    def __init__(
        self,
        reactor: IReactor,
        tunnel: Tunnel,
        config: ConnectListenerConfig,
        watcher: FileWatcher,
        directory: NodeDirectory | None = None,
        denied: DenyList | None = None,
    ) -> None:
        """``directory`` maps targets that are addresses to nodes.

        Callers with a ``denied`` certificate are refused.
        """
        tls = None
        if config.certificate is not None and config.key is not None:
            tls = ServerContextSource(config.certificate, config.key, config.client_ca, "required")
            watcher.watch_context(tls)
        super().__init__(reactor, tunnel, config, tls, int(config.mode, 8))
        self.config = config
        self._directory = directory
        self._denied = denied
        self._secured = tls is not None
        self._access = [_access(text) for text in config.access]
        node_host = config.node_host
        self._hosts = [node_host] if isinstance(node_host, str) else node_host
        self._reached: dict[str, str] = {}
        """The host on which each node answered last, if it has more than one."""

    def make_protocol(self) -> CallerProtocol:
        return _Caller(self)

    def locate(self, host: str) -> Location | None:
        """Where a target's host leads: a connected node, an existing node, or a node's or a pod's address."""
        node = self.find_node(host, self.config.suffixes)
        if node is not None:
            return Location(node)
        directory = self._directory
        if directory is None:
            return None
        names = (name for name in strip_suffix(host, self.config.suffixes) if directory.exists(name))
        known = next(names, None)
        return Location(known) if known is not None else directory.locate(host)

    def hosts(self, place: Location) -> Sequence[str]:
        """The hosts that the node tries in order; at least one."""
        if place.host:
            return (place.host,)
        hosts: list[str] = []
        for host in self._hosts:
            if host != INTERNAL_IP:
                hosts.append(host)
            elif self._directory is not None:
                hosts += self._directory.reported(place.node)
        last = self._reached.get(place.node)
        if last in hosts:
            hosts.remove(last)
            hosts.insert(0, last)
        return hosts[:MAX_HOSTS] or ("127.0.0.1",)

    def reached(self, node: str, host: str) -> None:
        """The node has connected to ``host``, which is tried first the next time."""
        if len(self._hosts) > 1 or INTERNAL_IP in self._hosts:
            self._reached.pop(node, None)
            if len(self._reached) >= MAX_REACHED:
                del self._reached[next(iter(self._reached))]
            self._reached[node] = host

    def admits(self, transport: Any) -> bool:
        """Whether a caller's certificate is not denied."""
        return self._denied is None or self._denied.admit(transport)

    def may_reach(self, common_name: str | None, node: str, port: int) -> bool:
        """Whether a rule of ``access`` allows the caller to reach the port; without rules every caller
        may."""
        return not self._access or any(
            fnmatchcase(common_name or "", rule.caller)
            and fnmatchcase(node, rule.node)
            and rule.port in (None, port)
            for rule in self._access
        )

    def knows_client(self, common_name: str | None) -> bool:
        """Whether a certificate's name is allowed. A Unix socket has file permissions instead."""
        names = self.config.client_names
        return not self._secured or not names or common_name in names
