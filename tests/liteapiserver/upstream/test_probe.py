"""What a probe reports names the servers that were dialled, whatever name their certificates have."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.upstream.health import ProbeReport, ProbeResult
from superedge.liteapiserver.upstream.probe import probe
from tests.liteapiserver.upstream.test_issuerkeys import Connection

SERVERS = "192.0.2.1:6443, 192.0.2.2:6443"


class Pool:
    def __init__(self) -> None:
        self.connecting: Deferred[Any] = Deferred()

    def connect(self) -> Deferred[Any]:
        return self.connecting


class ProbeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.pool = Clock(), Pool()
        self.report = Deferred.fromCoroutine(
            probe(cast(Any, self.clock), cast(Any, self.pool), "kubernetes:6443", SERVERS, 2.0)
        )

    def ended(self, result: ProbeResult, reason: str) -> None:
        found: ProbeReport = self.successResultOf(self.report)
        self.assertEqual((found.result, found.reason), (result, reason))

    def test_no_answer(self) -> None:
        self.clock.advance(2.0)
        self.ended(ProbeResult.FAILED, f"{SERVERS} did not answer within 2 s")

    def test_not_ready(self) -> None:
        self.pool.connecting.callback(Connection(500, b""))
        self.ended(ProbeResult.ANSWERING, f"{SERVERS} is not ready: status 500")

    def test_no_api_server(self) -> None:
        self.pool.connecting.callback(Connection(502, b""))
        what = "answers with status 502, which no API server does: a load balancer or a portal"
        self.ended(ProbeResult.FAILED, f"{SERVERS} {what}")
