"""What the tunnel counts is what happened."""

from __future__ import annotations

from typing import Any

from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from superedge.mux.protocol import MuxConnection
from superedge.mux.settings import INITIAL_WINDOW
from superedge.tunnel.errors import DialError
from superedge.tunnel.metrics import SessionMeter
from tests.mux.pair import Pair, Recorder
from tests.tunnel.case import TunnelCase


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"superedge_tunnel_{name}", labels) or 0.0


class MeterTests(SynchronousTestCase):
    """One end's connections; each test counts under a label of its own."""

    def setUp(self) -> None:
        self.end = self.id().rpartition(".")[2]
        self.pair = Pair()
        self.live: set[MuxConnection] = {self.pair.dialer}
        self.meter = SessionMeter(self.pair.clock, self.end, lambda: self.live, lambda: 7)

    def look(self) -> None:
        """Twice: the second time there is no news."""
        self.meter.collect()
        self.meter.collect()

    def counted(self, name: str, **labels: str) -> float:
        return value(name, end=self.end, **labels)

    def test_bytes_of_each_direction(self) -> None:
        near, far = self.pair.streams(Recorder(), Recorder())
        near.write(bytes(1000))
        far.write(bytes(30))
        self.pair.pump()
        self.look()
        self.assertEqual(self.counted("bytes_total", direction="out"), 1000)
        self.assertEqual(self.counted("bytes_total", direction="in"), 30)
        near.write(bytes(5))
        self.pair.pump()
        self.look()
        self.assertEqual(self.counted("bytes_total", direction="out"), 1005)

    def test_streams_whoever_opens_them(self) -> None:
        self.pair.streams(Recorder(), Recorder())
        near, _ = self.pair.streams(Recorder(), Recorder())
        self.pair.acceptor.open().connect(Recorder())
        self.pair.pump()
        near.abortConnection()
        self.pair.pump()
        self.look()
        self.assertEqual(self.counted("streams_total"), 3)
        self.assertEqual(self.counted("streams_open"), 2)

    def test_sessions_and_connections(self) -> None:
        self.live.add(self.pair.acceptor)
        self.meter.collect()
        self.assertEqual((self.counted("sessions"), self.counted("connections")), (7, 2))
        self.live.clear()
        SessionMeter(self.pair.clock, self.end, lambda: self.live).collect()
        self.assertEqual((self.counted("sessions"), self.counted("connections")), (0, 0))

    def test_resets_by_who_did_it(self) -> None:
        ends = [self.pair.streams(Recorder(), Recorder()) for _ in range(6)]
        for near, _ in ends[:1]:
            near.abortConnection()
        for _, far in ends[1:3]:
            far.abortConnection()
        self.pair.pump()
        self.look()
        self.pair.dialer.abort("test")
        self.meter.account(self.pair.dialer, ended=True)
        for reason, count in (("local", 1), ("peer", 2), ("session", 3)):
            self.assertEqual(self.counted("stream_resets_total", reason=reason), count)

    def test_a_sender_that_waits_for_credit(self) -> None:
        near, far = self.pair.streams(Recorder(), Recorder())
        far.pauseProducing()
        near.write(bytes(INITIAL_WINDOW))
        self.pair.pump()
        self.meter.collect()
        self.assertEqual(self.counted("window_stalls_total"), 0, "it had enough")
        near.write(b"more")
        self.pair.pump()
        near.write(b"and more")
        self.pair.pump()
        self.meter.collect()
        self.assertEqual(self.counted("window_stalls_total"), 1)
        far.resumeProducing()
        self.pair.pump()
        far.pauseProducing()
        near.write(bytes(INITIAL_WINDOW + 1))
        self.pair.pump()
        self.meter.collect()
        self.assertEqual(self.counted("window_stalls_total"), 2)

    def test_round_trips(self) -> None:
        self.meter.collect()
        self.assertEqual(self.counted("rtt_seconds_count"), 0, "none is known yet")
        self.pair.clock.advance(0.25)
        self.pair.pump()
        self.meter.collect()
        self.assertEqual(self.counted("rtt_seconds_count"), 1)
        self.assertEqual(self.counted("rtt_seconds_sum"), self.pair.dialer.rtt)

    def test_what_a_connection_did_last_counts_when_it_has_ended(self) -> None:
        near, _ = self.pair.streams(Recorder(), Recorder())
        near.write(bytes(100))
        self.pair.pump()
        self.meter.collect()
        near.write(bytes(11))
        self.pair.pump()
        self.live.clear()
        self.meter.account(self.pair.dialer, ended=True)
        self.assertEqual(self.counted("bytes_total", direction="out"), 111)
        self.assertEqual(self.meter._seen, {}, "and nothing is kept of it")


class ServiceTests(TunnelCase):
    """A cloud end and a node."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.before: dict[tuple[str, ...], float] = {}
        for name in ("sessions_started_total", "reconnects_total"):
            for end in ("cloud", "edge"):
                self.before[name, end] = value(name, end=end)
        await super().setUp()

    def news(self, name: str, end: str) -> float:
        return value(name, end=end) - self.before[name, end]

    async def test_sessions_that_come_and_come_again(self) -> None:
        for end in ("cloud", "edge"):
            self.assertEqual(self.news("sessions_started_total", end), 1)
            self.assertEqual(self.news("reconnects_total", end), 0)
        session = self.cloud.nodes.get("edge-1")
        assert session is not None
        session.connections[0].abort("test")
        await self.until(lambda: self.cloud.nodes.get("edge-1") not in (session, None))
        self.assertEqual(self.news("sessions_started_total", "cloud"), 2)
        self.assertEqual(self.news("sessions_started_total", "edge"), 2)
        self.assertEqual(self.news("reconnects_total", "edge"), 1)
        self.assertEqual(self.news("reconnects_total", "cloud"), 0, "the first had ended")
        self.make_edge("edge-1", [self.target], reconnect_initial=60.0)
        await self.until(lambda: self.news("reconnects_total", "cloud") >= 1)

    async def test_what_a_session_did_last_counts_and_nothing_is_kept_of_it(self) -> None:
        stream = await self.cloud.open("edge-1", self.target, timeout=60)
        before = value("bytes_total", end="cloud", direction="out")
        stream.connect(Recorder())
        stream.write(bytes(100_000))
        edge = self.edge._connections
        await self.until(lambda: sum(each.stats.bytes_in for each in edge) >= 100_000)
        session = self.cloud.nodes.get("edge-1")
        assert session is not None
        session.connections[0].abort("test")
        self.assertGreaterEqual(value("bytes_total", end="cloud", direction="out"), before + 100_000)
        await self.until(lambda: self.cloud.nodes.get("edge-1") not in (session, None))
        for service in (self.cloud, self.edge):
            self.assertEqual(len(service._connections), 1)
            self.assertLessEqual(set(service._meter._seen), service._connections)

    async def test_dials_and_their_time(self) -> None:
        before = [value("dial_seconds_count", end=end) for end in ("cloud", "edge")]
        stream = await self.cloud.open("edge-1", self.target, timeout=60)
        stream.abortConnection()
        after = [value("dial_seconds_count", end=end) for end in ("cloud", "edge")]
        self.assertEqual(after, [count + 1 for count in before])
        denied = [value("dial_failures_total", end=end, code="denied") for end in ("cloud", "edge")]
        opening: Deferred[Any] = Deferred.fromCoroutine(self.cloud.open("edge-1", "127.0.0.1:22", timeout=5))
        await self.assertFailure(opening, DialError)
        self.assertEqual(
            [value("dial_failures_total", end=end, code="denied") for end in ("cloud", "edge")],
            [count + 1 for count in denied],
        )
        self.assertEqual(
            [value("dial_seconds_count", end=end) for end in ("cloud", "edge")], after, "no time of a failure"
        )
