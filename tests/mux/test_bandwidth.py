"""A connection whose bytes are limited."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.mux.stream import MuxStream
from superedge.net.bucket import TokenBucket
from tests.mux.pair import Pair, Recorder

RATE = 1_000_000


class BandwidthTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pair = Pair()
        self.pair.dialer.bandwidth = TokenBucket(RATE, 0.0)

    def stream(self) -> tuple[MuxStream, Recorder]:
        near, far = self.pair.dialer.open(), Recorder()
        near.connect(Recorder())
        self.pass_time(0.1)
        self.pair.accepted[-1].connect(far)
        return near, far

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.01)):
            self.pair.clock.advance(0.01)
            self.pair.pump()

    def test_bytes_leave_at_the_rate_and_all_of_them(self) -> None:
        near, far = self.stream()
        data = bytes(range(250)) * 12_000
        near.write(data)
        near.loseWriteConnection()
        self.pass_time(1.0)
        self.assertLess(abs(len(far.data) - RATE * 1.1), RATE * 0.1)
        self.pass_time(1.0)
        self.assertLess(abs(len(far.data) - RATE * 2.1), RATE * 0.1)
        self.assertFalse(far.fin)
        self.pass_time(1.5)
        self.assertEqual(far.data, data)
        self.assertTrue(far.fin)

    def test_streams_share_it_and_a_small_one_does_not_wait(self) -> None:
        bulk = [self.stream() for _ in range(4)]
        for near, _ in bulk:
            near.write(bytes(2_000_000))
        self.pass_time(1.0)
        sizes = [len(far.data) for _, far in bulk]
        self.assertLess(max(sizes) - min(sizes), 2 * 32 * 1024)
        near, far = self.stream()
        near.write(b"small")
        self.pass_time(0.1)
        self.assertEqual(far.data, b"small", "it went ahead")

    def test_the_other_direction_and_control_frames_are_free(self) -> None:
        near, far = self.stream()
        back, heard = self.pair.accepted[-1], near.protocol
        other, cut = self.stream()
        near.write(bytes(3_000_000))
        back.write(bytes(200_000))
        self.pair.pump()
        self.assertEqual(len(heard.data), 200_000)
        self.assertLess(len(far.data), 300_000)
        other.abortConnection()
        self.pair.pump()
        self.assertIsNotNone(cut.lost)

    def test_nothing_is_left_running(self) -> None:
        near, _ = self.stream()
        near.write(bytes(3_000_000))
        self.pair.pump()
        self.pair.dialer.close("test")
        self.pair.acceptor.close("test")
        self.pair.pump()
        self.pair.clock.advance(10)
        self.assertEqual(self.pair.clock.getDelayedCalls(), [])
