"""Cloud, edge and listeners joined over real loopback TLS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from superedge.config.addresses import Address, TCPAddress, UnixAddress
from superedge.config.tunnel import (
    ConnectListenerConfig,
    TcpListenerConfig,
    TlsListenerConfig,
    TunnelCloudConfig,
    TunnelEdgeConfig,
)
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from superedge.tls.reload import FileWatcher
from superedge.tunnel.cloud import TunnelCloud
from superedge.tunnel.edge import TunnelEdge
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.connect import ConnectListener
from superedge.tunnel.listeners.tcp import TcpListener
from superedge.tunnel.listeners.tls import TlsListener

reactor = cast(IReactor, _reactor)
BIG = os.urandom(1000) * 2000


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


class TunnelTests(TestCase):
    timeout = 20

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
                drain_timeout=0.5,
            ),
            self.watcher,
        )
        self.cloud.startService()
        self.services: list[Any] = [self.cloud]
        target = await ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0)).listen(
            cast(Any, Factory.forProtocol(Answering))
        )
        self.addCleanup(target.stopListening)
        self.target = f"127.0.0.1:{cast(Any, target.getHost()).port}"
        self.edge = self.make_edge("system:node:edge-1", [self.target])
        await self.until(lambda: self.cloud.knows("edge-1"))

    async def tearDown(self) -> None:  # type: ignore[override]
        for service in reversed(self.services):
            result = service.stopService()
            if result is not None:
                await result
        await deferLater(reactor, 0.01)

    def make_edge(self, common_name: str, allow: list[str], authority: Authority | None = None) -> TunnelEdge:
        ca = authority or self.ca
        pair = ca.issue(common_name, directory=self.directory / "edges")
        edge = TunnelEdge(
            reactor,
            TunnelEdgeConfig(
                servers=[f"127.0.0.1:{self.cloud.address.port}"],
                certificate=pair.certificate,
                key=pair.key,
                ca=[self.ca.path],
                allow=allow,
                reconnect_initial=0.05,
            ),
            self.watcher,
        )
        edge.startService()
        self.services.append(edge)
        return edge

    async def until(self, condition: Any) -> None:
        while not condition():
            await deferLater(reactor, 0.005)

    async def call(self, address: Address, data: bytes, tls: Any = None, name: str | None = None) -> bytes:
        endpoint = ClientEndpoint(reactor, address, tls, name)
        caller = cast(Any, await endpoint.connect(cast(Any, Factory.forProtocol(Caller))))
        caller.transport.write(data)
        caller.transport.loseWriteConnection()
        return cast(bytes, await caller.ended)

    def start(self, listener: Any) -> TCPAddress:
        listener.startService()
        self.services.append(listener)
        host = listener.address
        return TCPAddress("127.0.0.1", getattr(host, "port", 0))

    async def test_tcp_listener_passes_every_byte_and_both_ends(self) -> None:
        config = TcpListenerConfig(listen="127.0.0.1:0", node="edge-1", target=self.target)
        address = self.start(TcpListener(reactor, self.cloud, config))
        self.assertEqual(await self.call(address, BIG), BIG[::-1])

    async def test_connect_listener_on_a_unix_socket(self) -> None:
        path = f"/tmp/superedge-{os.getpid()}.sock"
        config = ConnectListenerConfig(listen=f"unix:{path}")
        self.start(ConnectListener(reactor, self.cloud, config, self.watcher))
        port = self.target.rpartition(":")[2]
        request = f"CONNECT EDGE-1:{port} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        answer = await self.call(UnixAddress(path), request + BIG)
        self.assertEqual(answer, b"HTTP/1.1 200 Connection established\r\n\r\n" + BIG[::-1])
        for request, status in (
            (b"CONNECT edge-9:10250 HTTP/1.1\r\n\r\n", b"404"),
            (b"CONNECT edge-1:1 HTTP/1.1\r\n\r\n", b"403"),
            (b"GET / HTTP/1.1\r\n\r\n", b"405"),
            (b"nonsense\r\n\r\n", b"400"),
        ):
            answer = await self.call(UnixAddress(path), request)
            self.assertEqual(answer.split(b" ")[1], status, answer)

    async def test_connect_listener_over_tls_wants_a_known_client(self) -> None:
        config = ConnectListenerConfig(
            listen="127.0.0.1:0",
            certificate=self.server.certificate,
            key=self.server.key,
            client_ca=[self.ca.path],
            client_names=["kube-apiserver"],
        )
        address = self.start(ConnectListener(reactor, self.cloud, config, self.watcher))
        port = self.target.rpartition(":")[2]
        request = f"CONNECT edge-1:{port} HTTP/1.1\r\n\r\n".encode()
        good = self.ca.issue("kube-apiserver", directory=self.directory)
        other = self.ca.issue("somebody", directory=self.directory)
        known = ClientContextSource([self.ca.path], good.certificate, good.key)
        answer = await self.call(address, request + b"abc", known)
        self.assertEqual(answer, b"HTTP/1.1 200 Connection established\r\n\r\ncba")
        unknown = ClientContextSource([self.ca.path], other.certificate, other.key)
        self.assertIn(b" 403 ", await self.call(address, request, unknown))
        self.assertEqual(await self.call(address, request, ClientContextSource([self.ca.path])), b"")

    async def test_tls_listener_routes_by_server_name(self) -> None:
        pair = self.ca.issue("kubelet", dns=["edge-1", "edge-1.edge.example"], directory=self.directory)
        kubelet = await ServerEndpoint(
            reactor, TCPAddress("127.0.0.1", 0), ServerContextSource(pair.certificate, pair.key)
        ).listen(cast(Any, Factory.forProtocol(Answering)))
        self.addCleanup(kubelet.stopListening)
        target = f"127.0.0.1:{cast(Any, kubelet.getHost()).port}"
        self.make_edge("edge-2", [target])
        await self.until(lambda: self.cloud.knows("edge-2"))
        config = TlsListenerConfig(listen="127.0.0.1:0", target=target, suffixes=["edge.example"])
        address = self.start(TlsListener(reactor, self.cloud, config))
        tls = ClientContextSource([self.ca.path])
        # edge-1 may not dial that port, edge-2 may: the name alone decides.
        pair2 = self.ca.issue("kubelet", dns=["edge-2"], directory=self.directory, name="kubelet")
        self.assertTrue(pair2.serial)
        await self.assertFailure(Deferred.fromCoroutine(self.call(address, BIG, tls, "edge-1")), Exception)
        await self.assertFailure(Deferred.fromCoroutine(self.call(address, b"x", tls, "edge-9")), Exception)

    async def test_node_name_comes_from_the_certificate_alone(self) -> None:
        stranger = Authority.create(self.directory / "stranger")
        self.make_edge("system:node:edge-3", [], stranger)
        self.make_edge("system:admin", [])
        await deferLater(reactor, 0.2)
        self.assertEqual([session.node for session in self.cloud.nodes], ["edge-1"])

    async def test_a_dial_that_succeeds_is_not_logged(self) -> None:
        events: list[Any] = []
        observer = cast(Any, events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        stream = await self.cloud.open("edge-1", self.target, timeout=2)
        self.assertEqual([formatEvent(event) for event in events], [])
        stream.abortConnection()

    async def test_denied_and_refused(self) -> None:
        for address, code in (("127.0.0.1:22", "denied"), ("nonsense", "denied"), ("unix:/x", "denied")):
            opening: Deferred[Any] = Deferred.fromCoroutine(self.cloud.open("edge-1", address, timeout=2))
            problem = await self.assertFailure(opening, DialError)
            self.assertEqual(problem.code, code)
        opening = Deferred.fromCoroutine(self.cloud.open("edge-9", "x:1", timeout=2))
        problem = await self.assertFailure(opening, DialError)
        self.assertEqual(problem.code, "not-connected")

    async def test_newest_session_wins_and_the_old_teardown_leaves_it(self) -> None:
        before = self.cloud.nodes.get("edge-1")
        self.make_edge("system:node:edge-1", [self.target])
        await self.until(lambda: self.cloud.nodes.get("edge-1") not in (before, None))
        await deferLater(reactor, 0.02)
        self.assertTrue(self.cloud.knows("edge-1"))

    async def test_reconnects_after_the_session_is_cut(self) -> None:
        session = self.cloud.nodes.get("edge-1")
        assert session is not None
        session.mux.abort("test")
        await self.until(lambda: self.cloud.nodes.get("edge-1") not in (session, None))
        stream = await self.cloud.open("edge-1", self.target, timeout=2)
        stream.abortConnection()
