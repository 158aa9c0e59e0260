"""Ways to the cloud that fall silent: a server, a kept connection; and the way back."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from superedge.config.ops import OpsConfig
from superedge.liteapiserver import frontend
from superedge.liteapiserver.stores.directory import Directory
from superedge.liteapiserver.upstream import timeouts
from superedge.net import liveness
from superedge.net.sockets import set_options
from superedge.ops.http import OpsServer
from superedge.web import pool
from tests.faults.link import FaultyLink
from tests.liteapiserver.cache.driver import list_of
from tests.liteapiserver.world import IMPATIENT, World, reactor, until

TIMING = {"probe_interval": 0.2, "probe_timeout": 1.0, "connect_timeout": 5.0}
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/edge-1"


class SilentTests(TestCase):
    timeout = 30

    async def make(self, **options: Any) -> World:
        self.world = World(Path(self.mktemp()), **options)
        self.addCleanup(self.world.stop)
        return self.world

    async def test_a_first_server_that_drops_everything(self) -> None:
        """A queue that is full answers no SYN."""
        self.patch(pool, "NEXT_SERVER_DELAY", 0.3)
        world = await self.make(timing=TIMING)
        await world.upstream.start()
        with socket.socket() as hole, socket.socket() as one, socket.socket() as two:
            hole.bind(("127.0.0.1", 0))
            hole.listen(0)
            for filler in (one, two):
                filler.setblocking(False)
                filler.connect_ex(hole.getsockname())
            number = world.upstream.number
            world.servers = [f"127.0.0.1:{hole.getsockname()[1]}", f"127.0.0.1:{number}"]
            await world.start_lite()
            world.upstream.serve(b"/version", b"{}")
            begun = reactor.seconds()
            self.assertEqual((await world.get("/version")).status, 200)
            await until(lambda: world.state == "online", "online", 5.0)
            self.assertLess(reactor.seconds() - begun, 5.0)

    async def through_link(self) -> FaultyLink:
        world = await self.make(timing={**TIMING, "probe_timeout": 2.0}, http2="none")
        await world.upstream.start()
        link = FaultyLink(world.upstream.number)
        self.addCleanup(link.close)
        world.servers = [f"127.0.0.1:{link.port}"]
        await world.start_lite()
        await until(lambda: world.state == "online", "online")
        world.upstream.serve(b"/version", b"{}")
        world.upstream.serve(LEASE.encode(), b"{}")
        return link

    async def test_a_read_over_a_connection_that_fell_silent(self) -> None:
        self.patch(timeouts, "GET_TIMEOUT", 0.5)
        link = await self.through_link()
        self.assertEqual((await self.world.get("/version")).status, 200)
        link.silence()
        begun = reactor.seconds()
        answer = await self.world.get("/version")
        self.assertEqual((answer.status, answer.header(b"warning")), (200, b""))
        self.assertLess(reactor.seconds() - begun, 5.0)
        self.assertEqual(self.world.state, "online")

    async def test_a_list_or_a_watch_over_a_connection_that_fell_silent(self) -> None:
        """A new connection may take long to answer these, a kept one may not."""
        self.patch(timeouts, "KEPT_TIMEOUT", 0.5)
        link = await self.through_link()
        world = self.world
        for query in ("", "?watch=1&timeoutSeconds=1"):
            world.upstream.serve(b"/api/v1/pods" + query.encode(), list_of([], 7))
            self.assertEqual((await world.get("/version")).status, 200)
            link.silence()
            begun = reactor.seconds()
            answer = await world.get(f"/api/v1/pods{query}")
            self.assertEqual((answer.status, answer.header(b"warning")), (200, b""))
            self.assertLess(reactor.seconds() - begun, 5.0)

    async def test_a_write_does_not_go_over_a_connection_that_was_idle(self) -> None:
        self.patch(pool, "PROVEN_WITHIN", 0.1)
        link = await self.through_link()
        self.assertEqual((await self.world.get("/version")).status, 200)
        link.silence()
        await deferLater(reactor, 0.2)
        begun = reactor.seconds()
        answer = await self.world.ask("PUT", LEASE, identity=self.world.node, body=b"{}")
        self.assertEqual(answer.status, 200)
        self.assertLess(reactor.seconds() - begun, 2.0)

    async def test_the_first_write_after_the_link_is_back(self) -> None:
        world = await self.make(timing={**TIMING, "probe_interval": 20.0})
        await world.start()
        world.upstream.serve(LEASE.encode(), b"{}")
        world.upstream.stop()
        answer = await world.ask("PUT", LEASE, identity=world.node, body=b"{}")
        await until(lambda: world.state == "offline", "offline")
        answer = await world.ask("PUT", LEASE, identity=world.node, body=b"{}")
        self.assertEqual(answer.status, 503)
        await world.upstream.start()
        begun = reactor.seconds()
        answer = await world.ask("PUT", LEASE, identity=world.node, body=b"{}")
        self.assertEqual(answer.status, 200)
        self.assertLess(reactor.seconds() - begun, 10.0, "no probe was due")

    async def test_the_reason_is_told(self) -> None:
        world = await self.make(timing=IMPATIENT)
        await world.upstream.start(tls=None)
        world.server_name = "another.name"
        await world.start_lite()
        await until(lambda: world.state == "offline", "offline")
        assert world.lite is not None
        reason = world.lite.status()["reason"]
        self.assertIn("another.name", reason)
        self.assertIn("certificate not accepted", reason)
        self.assertIn(reason.encode().replace(b"'", b"'"), (await world.get("/api/v1/pods")).body)
        ops = OpsServer(reactor, OpsConfig(listen="127.0.0.1:0"))
        ops.add_readiness(world.lite.waits_for)
        ops.add_remark(world.lite.remark)
        status, text = ops._ready()
        self.assertEqual(status, 200)
        self.assertIn(reason, text.decode())


class SilenceTests(TestCase):
    async def test_a_peer_whose_kernel_lives_answers_for_a_program_that_does_not(self) -> None:
        self.patch(liveness, "ANSWER_WITHIN", 1.5)
        with socket.create_server(("127.0.0.1", 0)) as server:
            sock = socket.create_connection(server.getsockname())
            set_options(sock)
            self.addCleanup(sock.close)
            await deferLater(reactor, 0.3)
            self.assertGreaterEqual(liveness.seconds_silent(sock), 0.25)
            waited = liveness.start_probe(sock)
            await deferLater(reactor, waited)
            self.assertTrue(liveness.finish_probe(sock, waited))
            self.assertFalse(liveness.finish_probe(sock, 0.0))


class WaitingTests(TestCase):
    """A request that waits does not have its body in memory."""

    timeout = 30
    BODY = b"x" * 16 * 1024 * 1024

    async def setUp(self) -> None:  # type: ignore[override]
        self.world = World(Path(self.mktemp()), timing=TIMING)
        self.addCleanup(self.world.stop)

    async def check(self, go_on: Callable[[], object]) -> None:
        """Send a request that waits until ``go_on`` is called, or for some other reason."""
        answer = await self.world.send("PUT", LEASE, body=self.BODY, identity=self.world.node)
        assert answer.connection is not None
        client = answer.connection.transport
        await deferLater(reactor, 0.2)
        self.assertGreater(client.unsent(), len(self.BODY) // 2)
        go_on()
        await answer.begun

    async def test_for_a_probe(self) -> None:
        self.patch(frontend, "WRITE_PROBE_TIMEOUT", 0.3)
        await self.world.start()
        await self.world.go_offline()
        self.world.upstream.answers[b"/readyz"] = lambda seen: None
        await self.world.upstream.start()
        await self.check(lambda: None)

    async def test_for_the_cache(self) -> None:
        await self.world.upstream.start()
        store = Directory(self.world.directory / "cache")
        store.acquire()
        await self.world.start_lite()
        await self.check(store.release)
