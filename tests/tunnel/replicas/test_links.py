"""Forwarding from one replica to another, over real loopback TLS."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from superedge.config.addresses import TCPAddress
from superedge.config.listeners import TCPListenerConfig
from superedge.config.tunnel import ReplicasConfig, TunnelCloudConfig, TunnelEdgeConfig
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.tls.authority import Authority
from superedge.tls.contexts import ServerContextSource
from superedge.tls.identity import Identity
from superedge.tls.reload import FileWatcher
from superedge.tunnel.cloud import TunnelCloud
from superedge.tunnel.dial import dial
from superedge.tunnel.edge import TunnelEdge
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.tcp import TCPListener
from superedge.tunnel.messages import DialRequest, ForwardRequest
from superedge.tunnel.replicas.links import ALPN, ReplicaLinks
from superedge.tunnel.replicas.records import Replica
from superedge.tunnel.replicas.router import Router
from superedge.tunnel.replicas.routes import Route
from tests.producers import Producer
from tests.tunnel.case import Answering, Caller, reactor

BIG = os.urandom(1000) * 2000


@implementer(IHalfCloseableProtocol)
class Holding(Protocol):
    """Reads once and then, unless told to go on, no more; remembers its end."""

    transport: Any

    def __init__(self, going_on: bool = False) -> None:
        self.received = 0
        self.going_on = going_on
        self.lost: Deferred[bool] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        if not self.going_on:
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        pass

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.check(ConnectionDone) is not None)


class StaticRegistry:
    """Routes as a test says."""

    def __init__(self) -> None:
        self.known: dict[str, list[Route]] = {}

    def routes(self, node: str) -> list[Route]:
        return self.known.get(node, [])


class LinkTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.directory = Path(self.mktemp()).absolute()
        self.ca = Authority.create(self.directory)
        self.watcher = FileWatcher(reactor)
        self.pair = self.ca.issue("superedge-cloud", dns=["superedge-cloud"], directory=self.directory)
        self.services: list[Any] = []
        self.clouds: list[TunnelCloud] = []
        self.links = [self.make_links(self.pair) for _ in range(2)]
        self.targets: list[Any] = []
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: self.targets.pop(0)  # type: ignore[method-assign]
        port = await ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0)).listen(cast(Any, factory))
        self.addCleanup(port.stopListening)
        self.target = f"127.0.0.1:{cast(Any, port.getHost()).port}"
        node = self.ca.issue("system:node:edge-1", directory=self.directory, dns=["superedge-cloud"])
        self.node = node
        edge = TunnelEdge(
            reactor,
            TunnelEdgeConfig(
                servers=[f"127.0.0.1:{self.clouds[1].address.port}"],
                server_name="superedge-cloud",
                certificate=node.certificate,
                key=node.key,
                ca=[self.ca.path],
                allow=[self.target],
                reconnect_initial=0.05,
            ),
            self.watcher,
        )
        edge.startService()
        self.services.append(edge)
        while not self.clouds[1].knows("edge-1"):
            await deferLater(reactor, 0.005)
        self.registry = StaticRegistry()
        self.there = self.replica(self.links[1].address.port)
        self.registry.known["edge-1"] = [Route(self.there, 5)]
        self.router = Router(self.clouds[0], cast(Any, self.registry), self.links[0])

    async def tearDown(self) -> None:  # type: ignore[override]
        for service in reversed(self.services):
            await cast(Any, service.stopService())
        await deferLater(reactor, 0.02)

    def make_links(self, pair: Identity) -> ReplicaLinks:
        config = TunnelCloudConfig(
            listen="127.0.0.1:0",
            certificate=self.pair.certificate,
            key=self.pair.key,
            ca=[self.ca.path],
            registry="kubernetes",
            replicas=ReplicasConfig(
                listen="127.0.0.1:0",
                ca=[self.ca.path],
                names=["superedge-cloud"],
                certificate=pair.certificate,
                key=pair.key,
            ),
            drain_timeout=0.3,
        )
        cloud = TunnelCloud(reactor, config, self.watcher)
        links = ReplicaLinks(reactor, cloud, config, self.watcher)
        for service in (cloud, links):
            service.startService()
            self.services.append(service)
        self.clouds.append(cloud)
        return links

    def replica(self, port: int) -> Replica:
        return Replica("b", "1", "", 15, TCPAddress("127.0.0.1", port), ("192.0.2.1",))

    async def fails(self, opening: Any, code: str) -> str:
        problem = await self.assertFailure(Deferred.fromCoroutine(opening), DialError)
        self.assertEqual(problem.code, code)
        return str(problem)

    async def test_every_byte_and_both_ends_pass(self) -> None:
        for number in range(3):
            self.targets.append(Answering())
            stream = await self.router.open("edge-1", self.target, timeout=60)
            caller = Caller()
            stream.connect(caller)
            data = BIG[number:]
            stream.write(data)
            stream.loseWriteConnection()
            self.assertEqual(await caller.ended, data[::-1])
        self.assertEqual(len(self.links[0]._links), 1, "one link carries all")
        self.assertGreaterEqual(forwarded("out", "opened"), 3)
        self.assertGreaterEqual(forwarded("in", "opened"), 3)

    async def test_a_reset_passes_both_ways(self) -> None:
        for ours in (True, False):
            target, caller = Holding(going_on=True), Holding()
            self.targets.append(target)
            stream = await self.router.open("edge-1", self.target, timeout=60)
            stream.connect(caller)
            stream.write(b"x")
            while not target.received:
                await deferLater(reactor, 0.005)
            (stream if ours else target.transport).abortConnection()
            in_order = await (target.lost if ours else caller.lost)
            self.assertFalse(in_order)

    async def test_a_link_that_breaks_ends_no_stream_in_order(self) -> None:
        """Whoever reads from it must not take what came so far for the whole."""
        for side in self.links:
            target, caller = Holding(going_on=True), Holding(going_on=True)
            self.targets.append(target)
            stream = await self.router.open("edge-1", self.target, timeout=60)
            stream.connect(caller)
            stream.write(b"x")
            while not target.received:
                await deferLater(reactor, 0.005)
            for link in list(side._links):
                link.abort("the other replica was killed")
            self.assertEqual((await caller.lost, await target.lost), (False, False))

    async def test_a_link_ends_with_either_certificate(self) -> None:
        real = time.time
        for source in (self.links[0]._client_tls, self.links[1]._server_tls):
            self.targets.append(Answering())
            await self.router.open("edge-1", self.target, timeout=60)
            (link,) = self.links[0]._links
            source._peers._now = lambda: real() + 366 * 86400
            self.watcher.check()
            await link.when_closed()
            source._peers._now = real
            while self.links[1]._links:
                await deferLater(reactor, 0.005)

    async def test_a_target_that_does_not_read_holds_up_its_sender_alone(self) -> None:
        slow = Holding()
        self.targets.append(slow)
        stream = await self.router.open("edge-1", self.target, timeout=60)
        stream.connect(Holding())
        producer = Producer()
        stream.registerProducer(producer, True)
        sent = 0
        for _ in range(2000):
            if producer.paused:
                await deferLater(reactor, 0.01)
                if producer.paused and slow.received:
                    break
            stream.write(BIG[:64000])
            sent += 64000
        self.assertTrue(producer.paused)
        self.assertLess(sent, 64 * 1024 * 1024)
        self.targets.append(Answering())
        other = await self.router.open("edge-1", self.target, timeout=60)
        caller = Caller()
        other.connect(caller)
        other.write(b"abc")
        other.loseWriteConnection()
        self.assertEqual(await caller.ended, b"cba")
        stream.unregisterProducer()
        stream.abortConnection()

    async def test_a_link_that_has_used_up_its_stream_ids_is_followed_by_another(self) -> None:
        async def call(data: bytes) -> bytes:
            self.targets.append(Answering())
            stream = await self.router.open("edge-1", self.target, timeout=60)
            caller = Caller()
            stream.connect(caller)
            stream.write(data)
            stream.loseWriteConnection()
            return await caller.ended

        self.assertEqual(await call(b"abc"), b"cba")
        (first,), (acceptor,) = (side._links for side in self.links)
        first.session._next_id, acceptor.session._peer_ids._last = 0xFFFF_FFFF, 0xFFFF_FFFD
        last = Deferred.fromCoroutine(call(BIG))
        while not first.exhausted:
            await deferLater(reactor, 0.001)
        self.assertEqual(await call(b"abc"), b"cba")
        self.assertEqual(await last, BIG[::-1], "what the first one carries goes on")
        self.assertEqual(len(self.links[0]._links), 2)
        first.close("test")
        self.assertEqual(await call(b"abc"), b"cba")
        self.assertEqual(len(self.links[0]._links), 1, "the second one is still in use")

    async def test_causes_come_back(self) -> None:
        await self.fails(self.router.open("edge-1", "127.0.0.1:1", timeout=60), "denied")
        self.registry.known["edge-2"] = self.registry.known["edge-1"]
        await self.fails(self.router.open("edge-2", self.target, timeout=60), "not-connected")
        await self.fails(self.router.open("edge-3", self.target, timeout=60), "not-connected")

    async def test_a_replica_that_is_gone(self) -> None:
        gone = replace(self.replica(1), name="gone")
        self.registry.known["edge-1"] = [Route(gone, 5)]
        said = await self.fails(self.router.open("edge-1", self.target, timeout=60), "not-connected")
        self.assertIn("no", said)
        # The next newest session is tried.
        self.registry.known["edge-1"] = [Route(gone, 9), Route(self.there, 5)]
        self.targets.append(Answering())
        stream = await self.router.open("edge-1", self.target, timeout=60)
        stream.abortConnection()

    async def test_what_a_caller_sends_at_once_reaches_the_target_once_whatever_routes_are_tried(
        self,
    ) -> None:
        """Nothing goes ahead over a hop: the next route may have to be tried."""
        self.make_links(self.pair)
        elsewhere = replace(self.replica(self.services[-1].address.port), name="elsewhere")
        self.registry.known["edge-1"] = [Route(elsewhere, 9), Route(self.there, 5)]
        config = TCPListenerConfig(listen="127.0.0.1:0", node="edge-1", target=self.target)
        listener = TCPListener(reactor, self.router, config)
        listener.startService()
        self.addCleanup(listener.stopService)
        for data in (b"", b"x", BIG):
            self.targets.append(Answering())
            caller = Caller()
            endpoint = ClientEndpoint(reactor, TCPAddress("127.0.0.1", listener.address.port))
            await endpoint.connect(cast(Any, Factory.forProtocol(cast(Any, lambda caller=caller: caller))))
            caller.transport.write(data)
            caller.transport.loseWriteConnection()
            self.assertEqual(await caller.ended, data[::-1])

    async def test_a_session_here_that_is_newer_is_used(self) -> None:
        router = Router(self.clouds[1], cast(Any, self.registry), self.links[1])
        gone = replace(self.replica(1), name="gone")
        self.registry.known["edge-1"] = [Route(gone, 5)]
        self.targets.append(Answering())
        stream = await router.open("edge-1", self.target, timeout=60)
        stream.abortConnection()

    async def test_nothing_is_forwarded_twice(self) -> None:
        link = await self.links[0]._link(self.there)
        request = ForwardRequest("tcp", self.target, 5.0, node="edge-1", hops=2)
        self.assertIn("forwarded once", await self.fails(dial(link, request), "denied"))

    async def test_a_node_cannot_pose_as_a_replica(self) -> None:
        """Its certificate is of the same CA and even names the replicas' server name."""
        refused = sessions_refused()
        imposter = self.make_links(self.node)
        opening = imposter.open(self.there, "edge-1", DialRequest("tcp", self.target, 1.0))
        await self.fails(opening, "not-connected")
        while sessions_refused() == refused:
            await deferLater(reactor, 0.005)
        # The other way round: a replica dials it.
        there = self.replica(imposter.address.port)
        opening = self.links[0].open(there, "edge-1", DialRequest("tcp", self.target, 1.0))
        said = await self.fails(opening, "not-connected")
        self.assertIn("no replica's certificate: CN 'system:node:edge-1'", said)

    async def test_a_server_that_speaks_another_protocol(self) -> None:
        tls = ServerContextSource(
            self.pair.certificate, self.pair.key, [self.ca.path], "required", ["superedge-tunnel/1"]
        )
        port = await ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0), tls).listen(
            cast(Any, Factory.forProtocol(Protocol))
        )
        self.addCleanup(port.stopListening)
        there = self.replica(cast(Any, port.getHost()).port)
        opening = self.links[0].open(there, "edge-1", DialRequest("tcp", self.target, 1.0))
        self.assertIn("replica b", await self.fails(opening, "not-connected"))
        self.assertEqual(ALPN, "superedge-replica/1")

    async def test_a_caller_that_leaves_does_not_take_the_link_from_others(self) -> None:
        request = DialRequest("tcp", self.target, 5.0)
        self.targets.append(Answering())
        before = forwarded("out", "opened"), forwarded("out", "cancelled")
        first = Deferred.fromCoroutine(self.links[0].open(self.there, "edge-1", request))
        second = Deferred.fromCoroutine(self.links[0].open(self.there, "edge-1", request))
        first.addErrback(lambda failure: None)
        first.cancel()
        stream = await second
        stream.abortConnection()
        after = forwarded("out", "opened"), forwarded("out", "cancelled")
        self.assertEqual(after, (before[0] + 1, before[1] + 1))
        self.assertEqual(len(self.links[0]._links), 1)

    async def test_one_that_comes_when_all_others_have_left_waits_for_the_same_link(self) -> None:
        request = DialRequest("tcp", self.target, 5.0)
        for _ in range(3):
            left = Deferred.fromCoroutine(self.links[0].open(self.there, "edge-1", request))
            left.addErrback(lambda failure: None)
            left.cancel()
        self.targets.append(Answering())
        stream = await self.links[0].open(self.there, "edge-1", request)
        stream.abortConnection()
        await deferLater(reactor, 0.05)
        self.assertEqual(len(self.links[0]._links), 1)


def forwarded(direction: str, outcome: str) -> float:
    labels = {"direction": direction, "outcome": outcome}
    return REGISTRY.get_sample_value("superedge_tunnel_forwarded_total", labels) or 0.0


def sessions_refused() -> float:
    return REGISTRY.get_sample_value("superedge_tunnel_sessions_refused_total", {"end": "replica"}) or 0.0
