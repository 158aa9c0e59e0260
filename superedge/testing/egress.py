"""Connects the embedded API server to kubelets, directly or through an egress proxy.

Source: Kubernetes' EgressSelectorConfiguration, proxy protocol HTTPConnect over a Unix socket.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from superedge.config.addresses import Address, TCPAddress
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint, ContextSource
from superedge.net.errors import ConnectError
from superedge.net.racing import ATTEMPT_DELAY, Attempt, first_of
from superedge.net.sockets import peer_sockaddr
from superedge.net.transport import StreamTransport

Connector = Callable[[str, int], IStreamClientEndpoint]
"""Returns a TLS endpoint for (node name, kubelet port)."""

_MAX_ANSWER = 16 * 1024


def direct(reactor: IReactor, tls: ContextSource) -> Connector:
    """A connector for kubelets that listen on this machine."""
    return lambda node, port: ClientEndpoint(reactor, TCPAddress("127.0.0.1", port), tls, server_name=node)


def through(reactor: IReactor, proxy: Address, tls: ContextSource) -> Connector:
    """A connector that sends ``CONNECT NODE:PORT`` to ``proxy``, as kube-apiserver does."""
    return lambda node, port: ConnectProxyEndpoint(reactor, proxy, f"{node}:{port}", tls, node)


class _Answer(Protocol):
    """Reads the head of the proxy's response. The kubelet sends nothing before the client does."""

    def __init__(self) -> None:
        self._head = b""
        self.done: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._head += data
        if not self.done.called and (b"\r\n\r\n" in self._head or len(self._head) > _MAX_ANSWER):
            self.done.callback(self._head)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.callback(self._head)


class ConnectProxyEndpoint(ClientEndpoint):
    """Connects to ``target`` through an HTTP proxy, and begins TLS with it."""

    def __init__(
        self, reactor: IReactor, proxy: Address, target: str, tls: ContextSource, server_name: str
    ) -> None:
        super().__init__(reactor, proxy, tls, server_name)
        self._target = target
        self._proxy = proxy

    async def attempts(self) -> list[Attempt[socket.socket]]:
        """The one through the proxy."""
        reach = await super().attempts()
        return [lambda: Deferred.fromCoroutine(self._through(reach))]

    async def _through(self, reach: list[Attempt[socket.socket]]) -> socket.socket:
        """A socket to the proxy after its 200 response."""
        sock = await first_of(self._reactor, reach, ATTEMPT_DELAY)
        answer = _Answer()
        transport = StreamTransport(sock, answer, self._reactor, peer_sockaddr(sock))
        transport.startReading()
        transport.write(f"CONNECT {self._target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        try:
            head = await answer.done
            self._check(head)
        except BaseException:
            transport.abortConnection()
            raise
        transport.stopReading()
        return sock

    def _check(self, head: bytes) -> None:
        status: list[Any] = head.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
        if len(status) < 2 or not status[0].startswith("HTTP/1."):
            raise ConnectError(f"{self._proxy}, asked for {self._target}, closed without an answer")
        if status[1] != "200":
            raise ConnectError(f"{self._proxy}, asked for {self._target}, answered {' '.join(status[1:])}")
