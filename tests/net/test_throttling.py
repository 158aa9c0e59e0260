"""Bandwidth limits: the mean holds, nobody is left out, and what waits waits at its source."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.net.bucket import MIN_BURST, TokenBucket
from superedge.net.splice import Splice
from superedge.net.throttling import BandwidthLimit, ThrottledProducer
from tests.net.test_splice import FakeTransport
from tests.producers import Producer

RATE = 1_000_000


class BucketTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 300_000)), min_size=1))
    def test_no_more_than_the_rate_passes(self, steps: list[tuple[float, int]]) -> None:
        bucket, now, passed, largest = TokenBucket(RATE, 0.0), 0.0, 0, 0
        for pause, size in steps:
            now += pause
            if bucket.available(now):
                bucket.consume(size, now)
                passed += size
                largest = max(largest, size)
            self.assertLessEqual(passed, now * RATE + RATE * 0.1 + largest + 1)

    def test_it_waits_as_long_as_it_says(self) -> None:
        bucket = TokenBucket(RATE, 0.0)
        bucket.consume(RATE, 0.0)
        self.assertEqual(bucket.available(0.0), 0)
        wait = bucket.delay(0.0)
        self.assertEqual(bucket.available(wait * 0.99), 0)
        self.assertGreater(bucket.available(wait + 1e-6), 0)

    def test_a_pause_saves_no_more_than_a_burst(self) -> None:
        self.assertEqual(TokenBucket(RATE, 0.0).available(1000.0), RATE // 10)
        self.assertEqual(TokenBucket(1000, 0.0).available(1000.0), MIN_BURST)


class ThrottledProducerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.limit = BandwidthLimit(self.clock, RATE)

    def test_sources_share_the_rate(self) -> None:
        sources = [Producer() for _ in range(5)]
        producers = [ThrottledProducer(self.limit, source) for source in sources]
        passed = [0] * 5
        for _ in range(10_000):
            for number, source in enumerate(sources):
                if not source.paused:
                    size = 65536 if number else 16384
                    passed[number] += size
                    producers[number].consumed(size)
            self.clock.advance(0.001)
        self.assertLess(abs(sum(passed) - 10 * RATE), RATE * 0.5)
        self.assertLess(max(passed[1:]) - min(passed[1:]), 65536 * 2, "in turns")
        self.assertGreater(passed[0], RATE / 3, "small pieces have their turn too")

    def test_a_consumer_that_has_enough_is_heard_while_waiting(self) -> None:
        source = Producer()
        producer = ThrottledProducer(self.limit, source)
        producer.consumed(RATE)
        self.assertTrue(source.paused)
        producer.pauseProducing()
        self.clock.advance(5)
        self.assertTrue(source.paused, "the consumer still has enough")
        producer.resumeProducing()
        self.assertFalse(source.paused)
        producer.consumed(RATE)
        producer.resumeProducing()
        self.assertTrue(source.paused, "it is not paid for")
        self.clock.advance(5)
        self.assertFalse(source.paused)
        producer.stopProducing()
        self.assertEqual(source.calls[-1], "stop")

    def test_nothing_is_left_running(self) -> None:
        producer = ThrottledProducer(self.limit, Producer())
        producer.consumed(RATE)
        self.clock.advance(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ThrottledSpliceTests(SynchronousTestCase):
    def test_each_direction_has_its_own_limit(self) -> None:
        clock, left, right = Clock(), FakeTransport(), FakeTransport()
        splice = Splice((BandwidthLimit(clock, RATE), BandwidthLimit(clock, RATE)))
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
