"""A link that comes and goes every few seconds, for an hour of simulated time."""

from __future__ import annotations

from random import Random
from typing import Any, cast

from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.request import parse_request
from superedge.liteapiserver.cache.answers import WatchAnswer
from superedge.liteapiserver.forward.held import HeldWatches
from superedge.liteapiserver.upstream.health import Health, ProbeReport, ProbeResult

HOUR = 3600.0
STEP = 0.25
CLIENTS = 50
RESUME_WITHIN = 3.0
TIMEOUT = 2.0


class FakeRequest:
    """A client's watch: open until it is finished."""

    def __init__(self) -> None:
        self.open = True

    def receive(self, receiver: object) -> None:
        pass

    def start(self, *arguments: object) -> None:
        pass

    def write(self, pieces: list[bytes]) -> None:
        pass

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        assert self.open, "it ended twice"
        self.open = False


class FlappingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.random = Random(7)
        self.up = True
        self.probes = 0
        self.health = Health(self.clock, self.probe, 5.0)
        self.held = HeldWatches(self.clock, self.random)
        self.health.on_online = lambda: self.held.end_all_within(RESUME_WITHIN)
        self.health.start()
        self.addCleanup(self.health.stop)

    async def probe(self) -> ProbeReport:
        self.probes += 1
        if not self.up:
            await deferLater(self.clock, TIMEOUT)
            return ProbeReport(ProbeResult.FAILED, "refused", "nobody is there")
        await deferLater(self.clock, 0.05)
        return ProbeReport(ProbeResult.READY)

    def test_an_hour(self) -> None:
        next_change = 3.0
        watches: list[FakeRequest] = []
        opened = most_calls = 0
        ends: list[int] = []
        while self.clock.seconds() < HOUR:
            self.clock.advance(STEP)
            if self.clock.seconds() >= next_change:
                self.up = not self.up
                next_change = self.clock.seconds() + self.random.uniform(1.0, 12.0)
            if self.health.online and not self.up:
                self.health.request_failed("refused")
            ends.append(sum(not watch.open for watch in watches))
            watches = [watch for watch in watches if watch.open]
            if not self.health.online and len(watches) < CLIENTS:
                self.open(watches)
                opened += 1
            most_calls = max(most_calls, len(self.clock.getDelayedCalls()))
        self.assertGreater(opened, 500)
        # Each watch has two timers, and health one or two.
        self.assertLessEqual(most_calls, 2 * CLIENTS + 3)
        self.assertEqual(len(self.held), sum(watch.open for watch in watches))
        # At most a probe a second, however wild the link is, and no storm of clients when it is back.
        self.assertLessEqual(self.probes, HOUR * 1.5)
        self.assertLessEqual(max(ends), CLIENTS / 2)
        self.up = True
        for _ in range(200):
            self.clock.advance(STEP)
        self.assertEqual((self.health.state, len(self.held)), ("online", 0))

    def open(self, watches: list[FakeRequest]) -> None:
        request = FakeRequest()
        self.held.open(cast(Any, request), WatchAnswer([], [], None, b"bookmark"))
        watches.append(request)

    def test_a_watch_that_lost_the_cloud_is_one_of_them(self) -> None:
        request = FakeRequest()
        info = parse_request(b"GET", b"/api/v1/pods?watch=true&timeoutSeconds=400", b"")
        self.held.adopt(cast(Any, request), info, 100.0)
        self.clock.advance(299.0)
        self.assertTrue(request.open)
        self.clock.advance(1.0)
        self.assertFalse(request.open)
        self.assertEqual(len(self.held), 0)
