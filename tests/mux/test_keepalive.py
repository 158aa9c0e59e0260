"""When pings leave, what their answers tell, and when a peer is dead."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.mux.keepalive import PROBE_INTERVAL, TICKS, Keepalive
from superedge.mux.settings import MuxSettings

INTERVAL = MuxSettings().ping_interval
TIMEOUT = MuxSettings().ping_timeout


class KeepaliveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.keepalive = Keepalive(MuxSettings(), self.now)

    def beat(self) -> int | None:
        """A timer's turn, and time until the next."""
        self.assertTrue(self.keepalive.tick(self.now))
        number = self.keepalive.due(self.now)
        self.now += INTERVAL / TICKS
        return number

    def ping(self, seconds: float) -> None:
        """The next ping, and its answer after so long."""
        while (number := self.beat()) is None:
            pass
        sent = self.now - INTERVAL / TICKS
        self.keepalive.received(sent + seconds)
        self.keepalive.answered(number, sent + seconds)

    def test_one_at_once_and_then_one_each_interval(self) -> None:
        times, numbers = [], []
        for _ in range(5 * TICKS):
            at, number = self.now, self.beat()
            if number is not None:
                times.append(at - 1000.0)
                numbers.append(number)
                self.keepalive.received_at = at + 0.1
                self.keepalive.answered(number, at + 0.1)
        self.assertEqual(times, [INTERVAL * number for number in range(5)])
        self.assertEqual(numbers, [1, 2, 3, 4, 5])

    def test_none_beside_one_that_is_under_way(self) -> None:
        first = self.beat()
        assert first is not None
        for _ in range(TICKS + 1):
            self.keepalive.received_at = self.now
            self.assertIsNone(self.beat())
        self.keepalive.answered(first, self.now)
        self.assertEqual(self.beat(), first + 1)

    def test_an_answer_to_what_was_not_asked_tells_nothing(self) -> None:
        self.keepalive.answered(0, self.now)
        first = self.beat()
        assert first is not None
        self.keepalive.answered(first + 1, self.now)
        self.keepalive.answered(first - 1, self.now)
        self.assertIsNone(self.keepalive.rtt)
        self.keepalive.answered(first, 1000.5)
        self.keepalive.answered(first, 1001.5)
        self.assertEqual(self.keepalive.rtt, 0.5)

    def test_a_shorter_round_trip_is_the_paths(self) -> None:
        self.assertIsNone(self.keepalive.path_rtt)
        for seconds in (0.5, 0.125):
            self.ping(seconds)
            self.assertEqual((self.keepalive.rtt, self.keepalive.path_rtt), (seconds, seconds))

    def test_a_longer_one_is_the_paths_unless_the_answer_waited_behind_data(self) -> None:
        self.ping(0.125)
        for busy, path in ((0.9, 0.125), (0.5, 1.0)):
            while (number := self.beat()) is None:
                pass
            sent = self.now - INTERVAL / TICKS
            self.keepalive.received(sent)
            self.keepalive.processed(sent + busy)
            self.keepalive.received(sent + 1.0)
            self.keepalive.answered(number, sent + 1.0)
            self.assertEqual((self.keepalive.rtt, self.keepalive.path_rtt), (1.0, path))

    def test_the_path_is_measured_more_often_while_windows_depend_on_it(self) -> None:
        first = self.keepalive.probe(self.now)
        assert first is not None
        self.assertIsNone(self.keepalive.probe(self.now + 5.0), "one is under way")
        self.keepalive.answered(first, self.now + 0.01)
        self.assertIsNone(self.keepalive.probe(self.now + PROBE_INTERVAL - 0.01))
        self.assertEqual(self.keepalive.probe(self.now + PROBE_INTERVAL), first + 1)

    def test_who_never_said_anything_is_dead_in_time(self) -> None:
        self.beat()
        while self.now < 1000.0 + TIMEOUT:
            self.beat()
        self.assertFalse(self.keepalive.tick(self.now))

    def test_silence_with_nothing_asked_is_no_death(self) -> None:
        self.ping(0.1)
        self.now += INTERVAL - INTERVAL / TICKS
        self.assertTrue(self.keepalive.tick(self.now))
        for _ in range(3):
            self.now += INTERVAL
            self.assertTrue(self.keepalive.tick(self.now))
