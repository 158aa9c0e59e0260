"""A target that answers an upload before it has read it, and closes: the caller gets the answer."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from superedge.config.addresses import TCPAddress
from superedge.config.listeners import HTTPListenerConfig, TCPListenerConfig
from superedge.net.endpoints import ClientEndpoint
from superedge.tunnel.listeners.http import HTTPListener
from superedge.tunnel.listeners.tcp import TCPListener
from tests.tunnel.case import TunnelCase, reactor

ANSWER = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!"
UPLOAD = b"PUT / HTTP/1.1\r\nHost: edge-2\r\nContent-Length: 8000000\r\n\r\n" + bytes(8_000_000)
ROUNDS = 10


class Uploader(Protocol):
    """Sends as much as is taken, whatever comes back."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.answered: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(UPLOAD)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if len(self.data) >= len(ANSWER) and not self.answered.called:
            self.answered.callback(self.data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answered.called:
            self.answered.callback(self.data)


class EarlyAnswerTests(TunnelCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(5)
        self.addCleanup(self.listening.close)
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"
        self.make_edge("edge-2", [self.address])
        await self.until(lambda: self.cloud.knows("edge-2"))

    def serve(self) -> None:
        """A thread: reads a little, answers, and closes with the rest unread, which resets the connection."""
        for _ in range(ROUNDS):
            connection, _ = self.listening.accept()
            connection.recv(10_000)
            connection.sendall(ANSWER)
            connection.close()

    async def upload(self, address: TCPAddress) -> bytes:
        uploader = Uploader()
        endpoint = ClientEndpoint(reactor, address)
        await endpoint.connect(cast(Any, Factory.forProtocol(cast(Any, lambda: uploader))))
        answer = await uploader.answered
        uploader.transport.abortConnection()
        return answer

    async def uploads(self, listener: Any) -> None:
        address = self.start(listener)
        serving = deferToThread(self.serve)
        for _ in range(ROUNDS):
            answer = await self.upload(address)
            self.assertIn(b"HTTP/1.1 413", answer)
            self.assertTrue(answer.endswith(b"no!"), answer)
        await serving

    async def test_http(self) -> None:
        config = HTTPListenerConfig(listen="127.0.0.1:0", target=self.address)
        await self.uploads(HTTPListener(reactor, self.cloud, config))

    async def test_tcp(self) -> None:
        config = TCPListenerConfig(listen="127.0.0.1:0", node="edge-2", target=self.address)
        await self.uploads(TCPListener(reactor, self.cloud, config))
