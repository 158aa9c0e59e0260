"""A cloud end and a node in this process, joined over real loopback TLS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from superedge.config.addresses import Address, TCPAddress
from superedge.config.tunnel import LimitsConfig, TunnelCloudConfig, TunnelEdgeConfig
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.tls.authority import Authority
from superedge.tls.reload import FileWatcher
from superedge.tunnel.cloud import TunnelCloud
from superedge.tunnel.edge import TunnelEdge

reactor = cast(IReactor, _reactor)
BIG = os.urandom(1000) * 2000


class Talker(Protocol):
    """Says something and collects what comes back; ``over`` fires with that at the end."""

    transport: Any

    def __init__(self, says: bytes = b"") -> None:
        self.says = says
        self.data = b""
        self.over: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self.says)

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.over.callback(self.data)


@implementer(IHalfCloseableProtocol)
class Answering(Protocol):
    """Answers, after the caller's FIN, with what it was sent, reversed."""

    transport: Any

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.chunks.append(data)

    def readConnectionLost(self) -> None:
        self.transport.write(b"".join(self.chunks)[::-1])
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass


@implementer(IHalfCloseableProtocol)
class Caller(Protocol):
    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(self.data)


class TunnelCase(TestCase):
    """One cloud end and one node, edge-1, whose allowed target answers in reverse."""

    drain_timeout = 0.5
    limits = LimitsConfig()
    """The cloud's."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.directory = Path(self.mktemp()).resolve()
        self.ca = Authority.create(self.directory)
        self.watcher = FileWatcher(reactor)
        server = self.ca.issue("cloud", dns=["localhost"], ips=["127.0.0.1"], directory=self.directory)
        self.server = server
        self.cloud = TunnelCloud(
            reactor,
            TunnelCloudConfig(
                listen="127.0.0.1:0",
                certificate=server.certificate,
                key=server.key,
                ca=[self.ca.path],
                drain_timeout=self.drain_timeout,
                limits=self.limits,
            ),
            self.watcher,
            "cloud-a",
        )
        self.cloud.startService()
        self.services: list[Any] = [self.cloud]
        target = await ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0)).listen(
            cast(Any, Factory.forProtocol(Answering))
        )
        self.addCleanup(target.stopListening)
        self.target = f"127.0.0.1:{cast(Any, target.getHost()).port}"
        self.edge = self.make_edge("system:node:edge-1", [self.target])
        await self.until(lambda: self.cloud.knows("edge-1") and self.edge.connected_to is not None)

    async def tearDown(self) -> None:  # type: ignore[override]
        for service in reversed(self.services):
            result = service.stopService()
            if result is not None:
                await result
        await deferLater(reactor, 0.01)

    def make_edge(
        self, common_name: str, allow: list[str], authority: Authority | None = None, **options: Any
    ) -> TunnelEdge:
        ca = authority or self.ca
        pair = ca.issue(common_name, directory=self.directory / "edges")
        edge = TunnelEdge(
            reactor,
            TunnelEdgeConfig(
                certificate=pair.certificate,
                key=pair.key,
                ca=[self.ca.path],
                allow=allow,
                **{
                    "servers": [f"127.0.0.1:{self.cloud.address.port}"],
                    "reconnect_initial": 0.05,
                    "drain_timeout": 0.5,
                    **options,
                },
            ),
            self.watcher,
        )
        edge.startService()
        self.services.append(edge)
        return edge

    async def until(self, condition: Any) -> None:
        while not condition():
            await deferLater(reactor, 0.005)

    async def call(
        self, address: Address, data: bytes, tls: Any = None, name: str | None = None, half_close: bool = True
    ) -> bytes:
        endpoint = ClientEndpoint(reactor, address, tls, name)
        caller = cast(Any, await endpoint.connect(cast(Any, Factory.forProtocol(Caller))))
        caller.transport.write(data)
        if half_close:
            caller.transport.loseWriteConnection()
        return cast(bytes, await caller.ended)

    def start(self, listener: Any) -> TCPAddress:
        listener.startService()
        self.services.append(listener)
        host = listener.address
        return TCPAddress("127.0.0.1", getattr(host, "port", 0))
