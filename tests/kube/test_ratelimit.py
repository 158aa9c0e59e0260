from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.ratelimit import RateLimitedClient


class RateLimitedClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.times: list[float] = []
        self.client = RateLimitedClient(self.clock, self, qps=10, burst=5)

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> bytes:
        self.times.append(round(self.clock.seconds(), 3))
        return b""

    async def watch(self, *arguments: Any) -> None:
        self.times.append(self.clock.seconds())

    def send(self, count: int, method: str = "PATCH") -> None:
        for _ in range(count):
            Deferred.fromCoroutine(self.client.call(method, "/"))

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 100)):
            self.clock.advance(0.01)

    def test_a_burst_then_the_rate(self) -> None:
        self.send(8)
        self.assertEqual(self.times, [0.0] * 5)
        self.wait(1)
        self.assertEqual([round(at, 1) for at in self.times[5:]], [0.1, 0.2, 0.3])

    def test_a_pause_gives_a_burst_again_and_no_more(self) -> None:
        self.send(5)
        self.wait(10)
        self.times.clear()
        self.send(7)
        self.assertEqual(len(self.times), 5)

    def test_in_any_second_no_more_than_rate_and_burst(self) -> None:
        for _ in range(40):
            self.send(3)
            self.wait(0.05)
        self.wait(20)
        self.assertEqual(len(self.times), 120)
        for at in self.times:
            self.assertLessEqual(sum(at <= other < at + 1 for other in self.times), 10 + 5)

    def test_reads_and_watches_do_not_wait(self) -> None:
        self.send(50)
        self.times.clear()
        self.send(3, "GET")
        Deferred.fromCoroutine(self.client.watch("/", {}, 5, lambda event: None))
        self.assertEqual(len(self.times), 4)
