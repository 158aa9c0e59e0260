"""Metrics and health over HTTP."""

from __future__ import annotations

import json
import socket
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.internet.testing import AccumulatingProtocol
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody

from superedge import __version__
from superedge.config.ops import OpsConfig
from superedge.interfaces import IReactor
from superedge.net.errors import ConnectError
from superedge.ops import http
from superedge.ops.http import OpsServer
from superedge.tunnel import metrics

reactor = cast(IReactor, _reactor)


class OpsServerTests(TestCase):
    def setUp(self) -> None:
        self.server = OpsServer(reactor, OpsConfig(listen="127.0.0.1:0"))
        self.server.startService()
        self.port = self.server.address.port

    async def tearDown(self) -> None:  # type: ignore[override]
        self.server.stopService()
        await deferLater(reactor, 0.01)

    async def ask(self, path: str, method: str = "GET") -> tuple[int, str, str]:
        agent: Any = Agent(reactor)
        answer = await agent.request(method.encode(), f"http://127.0.0.1:{self.port}{path}".encode())
        kind = answer.headers.getRawHeaders("Content-Type", [""])[0]
        return answer.code, kind, (await readBody(answer)).decode()

    async def test_health(self) -> None:
        for path in ("/healthz", "/readyz"):
            self.assertEqual(await self.ask(path), (200, "text/plain", "ok\n"))
        self.assertEqual((await self.ask("/healthz", "HEAD"))[0], 200)

    async def test_what_is_not_ready_says_so(self) -> None:
        waits = ["the cluster's nodes"]
        self.server.add_readiness(lambda: "")
        self.server.add_readiness(lambda: waits[0])
        self.assertEqual(await self.ask("/readyz"), (503, "text/plain", "waiting for the cluster's nodes\n"))
        self.assertEqual((await self.ask("/healthz"))[0], 200)
        waits[0] = ""
        self.assertEqual(await self.ask("/readyz"), (200, "text/plain", "ok\n"))
        self.assertEqual((await self.ask("/readyz", "POST"))[0], 405)

    async def test_metrics(self) -> None:
        metrics.DIAL_FAILURES.labels("cloud", "denied").inc(3)
        code, kind, text = await self.ask("/metrics")
        self.assertEqual(code, 200)
        self.assertTrue(kind.startswith("text/plain; version="), kind)
        families = {family.name: family for family in text_string_to_metric_families(text)}
        samples = families["superedge_tunnel_dial_failures"].samples
        (found,) = [
            sample.value
            for sample in samples
            if sample.name.endswith("_total") and sample.labels == {"end": "cloud", "code": "denied"}
        ]
        self.assertGreaterEqual(found, 3)

    async def test_which_version_it_is(self) -> None:
        _, _, text = await self.ask("/metrics")
        self.assertIn(f'superedge_build_info{{version="{__version__}"}} 1.0', text)
        self.assertNotRegex(text, r"(?m)^\w+_created\b")

    async def test_nothing_else(self) -> None:
        self.assertEqual((await self.ask("/"))[0], 404)
        self.assertEqual((await self.ask("/metrics/x"))[0], 404)
        self.assertEqual((await self.ask("/healthz", "POST"))[0], 405)

    async def test_status_of_components(self) -> None:
        self.server.add_status("lite_apiserver", lambda: {"state": "online"})
        code, kind, text = await self.ask("/superedge/status")
        self.assertEqual((code, kind), (200, "application/json"))
        self.assertEqual(json.loads(text), {"lite_apiserver": {"state": "online"}})
        self.assertEqual((await self.ask("/superedge/healthz"))[0], 200)

    async def test_scrapes_are_not_logged(self) -> None:
        events: list[Any] = []
        observer = cast(Any, events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        await self.ask("/metrics")
        self.assertEqual([event for event in events if "GET" in str(formatEvent(event))], [])

    async def test_who_asks_for_nothing_is_sent_away(self) -> None:
        self.patch(http, "CLIENT_IDLE", 0.05)
        server = OpsServer(reactor, OpsConfig(listen="127.0.0.1:0"))
        server.startService()
        self.addCleanup(server.stopService)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", server.address.port)
        client = cast(AccumulatingProtocol, await connectProtocol(endpoint, AccumulatingProtocol()))
        client.closedDeferred = Deferred()
        await client.closedDeferred
        self.assertEqual(client.data, b"")

    async def test_listens_no_more_after_the_stop(self) -> None:
        self.server.stopService()
        with socket.socket() as sock:
            self.assertNotEqual(sock.connect_ex(("127.0.0.1", self.port)), 0)

    def test_an_address_that_is_taken(self) -> None:
        second = OpsServer(reactor, OpsConfig(listen=f"127.0.0.1:{self.port}"))
        problem = self.assertRaises(ConnectError, second.startService)
        self.assertIn("Address already in use", str(problem))

    def test_only_tcp_addresses(self) -> None:
        self.assertRaises(ValueError, OpsConfig, listen="unix:/run/ops.sock")
