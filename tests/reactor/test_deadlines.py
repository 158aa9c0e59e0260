"""Deadlines: one that is not cancelled expires in time, and one timer serves all of a length."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.reactor.deadlines import Deadline, Deadlines


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.expired: list[tuple[str, float]] = []

    def start(self, name: str, seconds: float) -> Deadline:
        return self.deadlines.start(seconds, lambda: self.expired.append((name, self.clock.seconds())))

    def test_each_expires_when_it_is_due(self) -> None:
        self.start("long", 10.0)
        self.start("short", 3.0)
        self.clock.advance(2)
        self.start("later", 3.0)
        self.clock.pump([0.5] * 30)
        self.assertEqual(self.expired, [("short", 3.0), ("later", 5.0), ("long", 10.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_is_cancelled_does_not_expire(self) -> None:
        first, _ = self.start("first", 3.0), self.start("second", 3.0)
        first.cancel()
        first.cancel()
        self.assertEqual(len(self.deadlines), 1)
        self.clock.advance(3)
        self.assertEqual(self.expired, [("second", 3.0)])

    def test_a_thousand_take_one_timer(self) -> None:
        running = [self.start(str(number), 3.0) for number in range(1000)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for deadline in running[:999]:
            deadline.cancel()
        self.clock.advance(3)
        self.assertEqual(self.expired, [("999", 3.0)])

    def test_after_all_are_cancelled_the_next_has_its_full_time(self) -> None:
        self.start("first", 3.0).cancel()
        self.clock.advance(2.5)
        self.start("second", 3.0)
        self.clock.pump([0.5] * 10)
        self.assertEqual(self.expired, [("second", 5.5)])

    def test_what_expires_may_start_and_cancel_others(self) -> None:
        deadlines: list[Deadline] = []

        def expire() -> None:
            deadlines[0].cancel()
            self.start("next", 3.0)

        self.deadlines.start(3.0, expire)
        deadlines.append(self.start("cancelled by the first", 3.0))
        self.clock.advance(3)
        self.clock.advance(3)
        self.assertEqual(self.expired, [("next", 6.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_fails_takes_nobody_along(self) -> None:
        def fail() -> None:
            raise ValueError("broken")

        self.deadlines.start(3.0, fail)
        self.start("next", 3.0)
        self.clock.advance(3)
        self.assertEqual(self.expired, [("next", 3.0)])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_none_expires_after_the_stop_also_from_within(self) -> None:
        self.deadlines.start(3.0, self.deadlines.stop)
        self.start("at the same time", 3.0)
        self.start("later", 4.0)
        self.clock.advance(3)
        self.clock.advance(3)
        self.assertEqual(self.expired, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
