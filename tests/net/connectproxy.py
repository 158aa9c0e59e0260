"""An HTTP proxy that serves CONNECT, for tests."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol

from superedge.config.addresses import TCPAddress, parse_address
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.net.errors import ConnectError
from superedge.net.splice import splice


class _Waiting(Protocol):
    def connectionMade(self) -> None:
        cast(Any, self.transport).pauseProducing()


class _Client(Protocol):
    transport: Any

    def __init__(self, proxy: ConnectProxy) -> None:
        self.proxy = proxy
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if b"\r\n\r\n" in self.received:
            self.transport.pauseProducing()
            Deferred.fromCoroutine(self.serve())

    async def serve(self) -> None:
        lines = self.received.split(b"\r\n")
        self.proxy.requests.append(lines[0].decode())
        wanted = self.proxy.credentials
        header = b"Proxy-Authorization: Basic " + b64encode(wanted.encode())
        if wanted and header not in lines:
            self.transport.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            self.transport.loseConnection()
            return
        target = parse_address(lines[0].split(b" ")[1].decode())
        factory = Factory.forProtocol(_Waiting)
        try:
            far = await ClientEndpoint(self.proxy.reactor, target).connect(cast(Any, factory))
        except ConnectError:
            self.transport.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            self.transport.loseConnection()
            return
        self.transport.write(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")
        splice(self.transport, cast(Any, far).transport)


class ConnectProxy:
    """Listens on loopback once `start` has fired; with ``credentials`` it wants them."""

    def __init__(self, reactor: IReactor, credentials: str = "") -> None:
        self.reactor = reactor
        self.credentials = credentials
        self.requests: list[str] = []

    async def start(self) -> IListeningPort:
        """The listening port; ``address`` is set."""
        endpoint = ServerEndpoint(self.reactor, TCPAddress("127.0.0.1", 0))
        port = await endpoint.listen(cast(Any, Factory.forProtocol(cast(Any, lambda: _Client(self)))))
        self.address = TCPAddress("127.0.0.1", cast(Any, port.getHost()).port)
        return port
