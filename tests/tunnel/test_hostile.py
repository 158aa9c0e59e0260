"""Strangers and broken peers on the tunnel's own port, and on the edge's way out."""

from __future__ import annotations

import os
import socket
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from prometheus_client import REGISTRY
from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import formatEvent
from twisted.trial.unittest import TestCase

from superedge.config.addresses import TCPAddress
from superedge.config.tunnel import LimitsConfig, TunnelCloudConfig, TunnelEdgeConfig
from superedge.interfaces import IReactor
from superedge.mux.frames import ACK, DATA, GO_AWAY, REFUSED, SYN, WINDOW_UPDATE, header
from superedge.net import endpoints
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from superedge.tls.reload import FileWatcher
from superedge.tunnel import cloud
from superedge.tunnel.cloud import TunnelCloud
from superedge.tunnel.edge import TunnelEdge
from superedge.tunnel.messages import Hello, Notice, encode
from superedge.tunnel.names import ALPN
from tests.events import logged
from tests.tunnel.case import Talker

reactor = cast(IReactor, _reactor)


def hello(message: Hello) -> bytes:
    body = encode(message)
    return header(WINDOW_UPDATE, SYN, 1, 0) + header(DATA, 0, 1, len(body)) + body


HELLO = hello(Hello("1"))


def factory_of(*peers: Talker) -> Any:
    waiting = list(peers)
    return cast(Any, Factory.forProtocol(cast(Any, lambda: waiting.pop(0))))


class CloudTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.directory = Path(self.mktemp()).absolute()
        self.ca = Authority.create(self.directory)
        pair = self.ca.issue("cloud", dns=["localhost"], ips=["127.0.0.1"], directory=self.directory)
        config = TunnelCloudConfig(
            listen="127.0.0.1:0",
            certificate=pair.certificate,
            key=pair.key,
            ca=[self.ca.path],
            drain_timeout=0.1,
            limits=LimitsConfig(prologue_timeout=0.3),
        )
        self.watcher = FileWatcher(reactor)
        self.cloud = TunnelCloud(reactor, config, self.watcher)
        self.cloud.startService()
        self.address = TCPAddress("127.0.0.1", self.cloud.address.port)
        self.refused = self.count()

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.cloud.stopService()
        await deferLater(reactor, 0.01)

    def count(self) -> float:
        value = REGISTRY.get_sample_value("superedge_tunnel_sessions_refused_total", {"end": "cloud"})
        return value or 0.0

    async def until(self, condition: Any) -> None:
        while not condition():
            await deferLater(reactor, 0.005)

    async def say(self, data: bytes) -> None:
        """Plain TCP: send bytes and wait for the end."""
        peer = Talker(data)
        await ClientEndpoint(reactor, self.address).connect(factory_of(peer))
        await peer.over
        await self.until(lambda: self.count() == self.refused + 1)
        self.assertEqual(len(self.cloud.nodes), 0)

    def client(self, common_name: str, alpn: str = ALPN) -> ClientContextSource:
        pair = self.ca.issue(common_name, directory=self.directory)
        return ClientContextSource([self.ca.path], pair.certificate, pair.key, [alpn] if alpn else [])

    async def node(self, says: bytes) -> Talker:
        """A node whose certificate is good, and what it says on its session."""
        peer = Talker(says)
        await ClientEndpoint(reactor, self.address, self.client("edge-1")).connect(factory_of(peer))
        return peer

    async def test_garbage_instead_of_tls(self) -> None:
        await self.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    async def test_random_bytes(self) -> None:
        await self.say(b"\x16\x03\x01\x40\x00" + os.urandom(20000))

    async def test_a_handshake_that_is_left(self) -> None:
        with socket.create_connection((self.address.host, self.address.port)) as sock:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        await self.until(lambda: self.count() == self.refused + 1)

    async def test_half_open_handshakes_end_and_keep_nobody_out(self) -> None:
        self.patch(endpoints, "HANDSHAKE_TIMEOUT", 0.3)
        idle = [Talker(b"\x16\x03\x01\x02\x00\x01" if number % 2 else b"") for number in range(20)]
        for peer in idle:
            await ClientEndpoint(reactor, self.address).connect(factory_of(peer))
        node = await self.node(HELLO)
        await self.until(lambda: self.cloud.knows("edge-1"))
        self.assertEqual([peer.over.called for peer in idle], [False] * 20)
        for peer in idle:
            await peer.over
        await self.until(lambda: self.count() == self.refused + 20)
        self.assertFalse(node.over.called)
        self.assertTrue(self.cloud.knows("edge-1"))
        node.transport.abortConnection()

    async def test_certificates_of_others(self) -> None:
        stranger = Authority.create(self.directory / "stranger")
        wrong = stranger.issue("edge-1", directory=self.directory / "stranger")
        expired = self.ca.issue("edge-1", directory=self.directory, lifetime=timedelta(seconds=1))
        for pair, cause in (
            (wrong, "certificate not accepted: unable to get local issuer certificate"),
            (expired, "certificate not accepted: certificate has expired"),
            (None, "peer did not return a certificate"),
        ):
            certificate, key = (None, None) if pair is None else (pair.certificate, pair.key)
            await self.refuses(ClientContextSource([self.ca.path], certificate, key, [ALPN]), cause)

    async def test_two_authorities_at_once_and_one_that_is_changed_under_a_session(self) -> None:
        second = Authority.create(self.directory / "second", "second")
        of_first = self.client("edge-1")
        pair = second.issue("edge-2", directory=self.directory / "second")
        of_second = ClientContextSource([self.ca.path], pair.certificate, pair.key, [ALPN])
        node = await self.node(HELLO)
        await self.until(lambda: self.cloud.knows("edge-1"))
        await self.refuses(of_second, "certificate not accepted")
        self.ca.path.write_bytes(self.ca.path.read_bytes() + second.path.read_bytes())
        self.watcher.check()
        for name, tls in (("edge-2", of_second), ("edge-1", of_first)):
            before, peer = self.cloud.nodes.get(name), Talker(HELLO)
            await ClientEndpoint(reactor, self.address, tls).connect(factory_of(peer))
            await self.until(
                lambda name=name, before=before: self.cloud.nodes.get(name) not in (before, None)
            )
            self.addCleanup(peer.transport.abortConnection)
        # The first one is out, and whom it vouched for; who is connected by the other stays.
        session = self.cloud.nodes.get("edge-2")
        self.ca.path.write_bytes(second.path.read_bytes())
        self.watcher.check()
        await self.until(lambda: not self.cloud.knows("edge-1"))
        await self.refuses(of_first, "certificate not accepted")
        self.assertIs(self.cloud.nodes.get("edge-2"), session)
        await node.over

    async def test_no_nodes_name_and_another_protocol(self) -> None:
        no_node = "no node's certificate: CN 'system:admin'"
        for tls, cause, told in (
            (
                self.client("system:admin"),
                f"{no_node}: subject 'CN=system:admin', issuer 'CN=",
                encode(Notice("refused", no_node)),
            ),
            (self.client("edge-1", "h2"), "wrong ALPN", b""),
            (self.client("edge-1", ""), "wrong ALPN", b""),
        ):
            await self.refuses(tls, cause, told)

    async def refuses(self, tls: ClientContextSource, cause: str, told: bytes = b"") -> None:
        """Nothing is served on such a connection; it is counted, and logged with its cause and who it was."""
        events, refused, nodes = logged(self), self.count(), list(self.cloud.nodes)
        peer = Talker(HELLO + b"\xff" * 50)
        await ClientEndpoint(reactor, self.address, tls).connect(factory_of(peer))
        frames = header(DATA, ACK, 1, len(told)) + told + header(GO_AWAY, 0, 0, REFUSED)
        self.assertEqual(await peer.over, frames if told else b"")
        await self.until(lambda: self.count() == refused + 1)
        (event,) = (event for event in events if "refused tunnel connection" in formatEvent(event))
        self.assertIn(cause, event["reason"])
        self.assertRegex(event["peer"], "^127.0.0.1:[0-9]+$")
        self.assertEqual(list(self.cloud.nodes), nodes)

    async def test_frames_that_come_with_the_end_of_the_handshake(self) -> None:
        # As one flight: the certificate, which is no node's, and frames behind it.
        context = self.client("system:admin").current()
        near, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(near, out, server_hostname="127.0.0.1")
        peer = Talker()
        await ClientEndpoint(reactor, self.address).connect(factory_of(peer))
        self.assertRaises(ssl.SSLWantReadError, tls.do_handshake)
        peer.transport.write(out.read())
        while True:
            await self.until(lambda: peer.data)
            near.write(peer.data)
            peer.data = b""
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
        tls.write(header(WINDOW_UPDATE, SYN, 1, 0) + b"\xff" * 50)
        peer.transport.write(out.read())
        await peer.over
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(len(self.cloud.nodes), 0)

    async def test_a_node_that_opens_connection_after_connection(self) -> None:
        self.patch(cloud, "MAX_CONNECTIONS", 3)
        first = await self.node(hello(Hello("1", session="s")))
        await self.until(lambda: self.cloud.knows("edge-1"))
        joining = [await self.node(hello(Hello("1", session="s", joins=True))) for _ in range(5)]
        session = self.cloud.nodes.get("edge-1")
        assert session is not None
        await self.until(lambda: [peer.over.called for peer in joining].count(True) == 3)
        self.assertEqual(len(session.connections), 3)
        for peer in joining:
            if peer.over.called:
                self.assertIn(b"the session has 3 connections already", await peer.over)
        self.assertFalse(first.over.called)
        session.close("test")

    async def test_a_node_that_breaks_the_frames(self) -> None:
        for says in (b"\xff" * 12, header(DATA, SYN, 1, 1 << 30), header(WINDOW_UPDATE, SYN, 2, 0)):
            peer = await self.node(says)
            answer = await peer.over
            self.assertIn(header(GO_AWAY, 0, 0, 1), answer, "it is told that it broke the protocol")
            await self.until(lambda: not self.cloud.knows("edge-1"))

    async def test_a_node_that_says_no_hello(self) -> None:
        for hello in (b"\xff\xff", b"\x00\x02{}", b"\x00\x01\xff"):
            frames = header(WINDOW_UPDATE, SYN, 1, 0) + header(DATA, 0, 1, len(hello)) + hello
            peer = await self.node(frames)
            await peer.over
            await self.until(lambda: not self.cloud.knows("edge-1"))

    async def test_a_node_that_says_nothing_replaces_nobody_and_is_dropped(self) -> None:
        node = await self.node(HELLO)
        await self.until(lambda: self.cloud.knows("edge-1"))
        session = self.cloud.nodes.get("edge-1")
        silent = await self.node(b"")
        await silent.over
        self.assertIs(self.cloud.nodes.get("edge-1"), session)
        node.transport.abortConnection()

    async def test_a_node_may_open_its_control_stream_alone(self) -> None:
        peer = await self.node(HELLO + header(WINDOW_UPDATE, SYN, 3, 0))
        reset = header(WINDOW_UPDATE, 8, 3, 0)
        await self.until(lambda: reset in peer.data or header(WINDOW_UPDATE, 8 | 2, 3, 0) in peer.data)
        session = self.cloud.nodes.get("edge-1")
        assert session is not None
        self.assertEqual(session.hello.version, "1")
        peer.transport.abortConnection()

    async def test_a_node_that_opens_stream_after_stream_loses_its_session(self) -> None:
        peer = await self.node(
            HELLO + b"".join(header(WINDOW_UPDATE, SYN, id, 0) for id in range(3, 4007, 2))
        )
        self.assertIn(header(GO_AWAY, 0, 0, 1), await peer.over)


class EdgeTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.directory = Path(self.mktemp()).absolute()
        self.ca = Authority.create(self.directory)
        self.callers: list[Talker] = []
        self.edge: TunnelEdge | None = None

    async def tearDown(self) -> None:  # type: ignore[override]
        if self.edge is not None:
            await self.edge.stopService()
        for peer in self.callers:
            if not peer.over.called:
                peer.transport.abortConnection()
        await deferLater(reactor, 0.02)

    async def serve(self, says: bytes, tls: ServerContextSource | None) -> None:
        """A cloud that says something to every caller, and an edge that dials it."""

        def build() -> Talker:
            self.callers.append(Talker(says))
            return self.callers[-1]

        endpoint = ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0), tls)
        port = await endpoint.listen(cast(Any, Factory.forProtocol(cast(Any, build))))
        self.addCleanup(port.stopListening)
        pair = self.ca.issue("edge-1", directory=self.directory)
        config = TunnelEdgeConfig(
            servers=[f"127.0.0.1:{cast(Any, port.getHost()).port}"],
            certificate=pair.certificate,
            key=pair.key,
            ca=[self.ca.path],
            reconnect_initial=0.1,
            reconnect_maximum=0.1,
        )
        self.edge = TunnelEdge(reactor, config, FileWatcher(reactor))
        self.edge.startService()

    def context(self, authority: Authority, ips: list[str], alpn: str = ALPN) -> ServerContextSource:
        pair = authority.issue("cloud", ips=ips, directory=self.directory / "cloud")
        return ServerContextSource(pair.certificate, pair.key, [self.ca.path], "required", [alpn])

    async def callers_within(self, seconds: float) -> int:
        await deferLater(reactor, seconds)
        return len(self.callers)

    async def dialled_again(self, count: int = 2) -> None:
        while len(self.callers) < count:
            await deferLater(reactor, 0.005)

    async def test_garbage_instead_of_tls(self) -> None:
        await self.serve(b"SSH-2.0-x\r\n" * 100, None)
        await self.dialled_again()
        assert self.edge is not None
        self.assertIsNone(self.edge.connected_to)
        status = self.edge.status()
        self.assertEqual((status["server"], status["connections"]), (None, 0))

    async def test_a_cloud_of_another_ca_gets_no_session(self) -> None:
        stranger = Authority.create(self.directory / "stranger")
        await self.serve(b"", self.context(stranger, ["127.0.0.1"]))
        self.assertEqual(await self.callers_within(0.3), 0, "the handshake never succeeds")

    async def test_a_cloud_with_another_name_gets_no_session(self) -> None:
        await self.serve(b"", self.context(self.ca, ["192.0.2.1"]))
        self.assertEqual(await self.callers_within(0.3), 0)

    async def test_a_server_of_another_protocol(self) -> None:
        await self.serve(b"", self.context(self.ca, ["127.0.0.1"], "h2"))
        await self.dialled_again()
        self.assertEqual(self.callers[0].data.count(b"version"), 0, "it was told nothing")

    async def test_broken_frames(self) -> None:
        await self.serve(b"\xff" * 100, self.context(self.ca, ["127.0.0.1"]))
        await self.dialled_again()

    async def test_a_cloud_that_sends_every_session_away_is_not_stormed(self) -> None:
        await self.serve(header(GO_AWAY, 0, 0, 0), self.context(self.ca, ["127.0.0.1"]))
        await self.dialled_again()
        self.assertLess(await self.callers_within(0.5), 15)
