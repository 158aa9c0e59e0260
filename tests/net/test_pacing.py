"""Bandwidth limits: the mean holds, nobody is left out, and what waits waits at its source."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.net.bucket import LEAST_BURST, TokenBucket
from superedge.net.pacing import Gate, Pace
from superedge.net.splice import Splice
from tests.net.test_splice import FakeTransport
from tests.producers import Producer

RATE = 1_000_000


class BucketTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 300_000)), min_size=1))
    def test_no_more_than_the_rate_passes(self, steps: list[tuple[float, int]]) -> None:
        bucket, now, passed, largest = TokenBucket(RATE, 0.0), 0.0, 0, 0
        for pause, size in steps:
            now += pause
            if bucket.room(now):
                bucket.spend(size, now)
                passed += size
                largest = max(largest, size)
            self.assertLessEqual(passed, now * RATE + RATE * 0.1 + largest + 1)

    def test_it_waits_as_long_as_it_says(self) -> None:
        bucket = TokenBucket(RATE, 0.0)
        bucket.spend(RATE, 0.0)
        self.assertEqual(bucket.room(0.0), 0)
        wait = bucket.wait(0.0)
        self.assertEqual(bucket.room(wait * 0.99), 0)
        self.assertGreater(bucket.room(wait + 1e-6), 0)

    def test_a_pause_saves_no_more_than_a_burst(self) -> None:
        self.assertEqual(TokenBucket(RATE, 0.0).room(1000.0), RATE // 10)
        self.assertEqual(TokenBucket(1000, 0.0).room(1000.0), LEAST_BURST)


class GateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pace = Pace(self.clock, RATE)

    def test_sources_share_the_rate(self) -> None:
        sources = [Producer() for _ in range(5)]
        gates = [Gate(self.pace, source) for source in sources]
        passed = [0] * 5
        for _ in range(10_000):
            for number, source in enumerate(sources):
                if not source.paused:
                    size = 65536 if number else 16384
                    passed[number] += size
                    gates[number].passed(size)
            self.clock.advance(0.001)
        self.assertLess(abs(sum(passed) - 10 * RATE), RATE * 0.5)
        self.assertLess(max(passed[1:]) - min(passed[1:]), 65536 * 2, "in turns")
        self.assertGreater(passed[0], RATE / 3, "small pieces have their turn too")

    def test_a_consumer_that_has_enough_is_heard_while_waiting(self) -> None:
        source = Producer()
        gate = Gate(self.pace, source)
        gate.passed(RATE)
        self.assertTrue(source.paused)
        gate.pauseProducing()
        self.clock.advance(5)
        self.assertTrue(source.paused, "the consumer still has enough")
        gate.resumeProducing()
        self.assertFalse(source.paused)
        gate.passed(RATE)
        gate.resumeProducing()
        self.assertTrue(source.paused, "it is not paid for")
        self.clock.advance(5)
        self.assertFalse(source.paused)
        gate.stopProducing()
        self.assertEqual(source.calls[-1], "stop")

    def test_nothing_is_left_running(self) -> None:
        gate = Gate(self.pace, Producer())
        gate.passed(RATE)
        self.clock.advance(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PacedSpliceTests(SynchronousTestCase):
    def test_each_way_has_a_pace_of_its_own(self) -> None:
        clock, left, right = Clock(), FakeTransport(), FakeTransport()
        splice = Splice((Pace(clock, RATE), Pace(clock, RATE)))
        splice.left.makeConnection(left)
        splice.right.makeConnection(right)
        splice.left.dataReceived(bytes(2 * RATE))
        self.assertEqual((len(right.sent), left.calls[-1]), (2 * RATE, "pauseProducing"))
        splice.right.dataReceived(b"small")
        self.assertEqual((left.sent, right.calls[-1]), (b"small", "write"))
        clock.advance(1.8)
        self.assertEqual(left.calls.count("resumeProducing"), 1, "the one of the start")
        clock.advance(0.2)
        self.assertEqual(left.calls[-1], "resumeProducing")
        for side, source in ((right, left), (left, right)):
            side.producer.pauseProducing()
            self.assertEqual(source.calls[-1], "pauseProducing", "who is full is heard, too")
            side.producer.resumeProducing()
            self.assertEqual(source.calls[-1], "resumeProducing")
        splice.left.readConnectionLost()
        self.assertEqual(right.calls[-1], "loseWriteConnection")
