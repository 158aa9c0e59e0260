"""Deadlines: those that are not met expire in time, and one timer serves all of a length."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.reactor.deadlines import Deadline, Deadlines


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.expired: list[tuple[str, float]] = []

    def begin(self, name: str, seconds: float) -> Deadline:
        return self.deadlines.begin(seconds, lambda: self.expired.append((name, self.clock.seconds())))

    def test_each_expires_when_it_is_due(self) -> None:
        self.begin("long", 10.0)
        self.begin("short", 3.0)
        self.clock.advance(2)
        self.begin("later", 3.0)
        self.clock.pump([0.5] * 30)
        self.assertEqual(self.expired, [("short", 3.0), ("later", 5.0), ("long", 10.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_is_met_does_not_expire(self) -> None:
        first, _ = self.begin("first", 3.0), self.begin("second", 3.0)
        first.met()
        first.met()
        self.assertEqual(len(self.deadlines), 1)
        self.clock.advance(3)
        self.assertEqual(self.expired, [("second", 3.0)])

    def test_a_thousand_take_one_timer(self) -> None:
        running = [self.begin(str(number), 3.0) for number in range(1000)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for deadline in running[:999]:
            deadline.met()
        self.clock.advance(3)
        self.assertEqual(self.expired, [("999", 3.0)])

    def test_after_all_are_met_the_next_has_its_full_time(self) -> None:
        self.begin("first", 3.0).met()
        self.clock.advance(2.5)
        self.begin("second", 3.0)
        self.clock.pump([0.5] * 10)
        self.assertEqual(self.expired, [("second", 5.5)])

    def test_what_expires_may_begin_and_meet_others(self) -> None:
        deadlines: list[Deadline] = []

        def expire() -> None:
            deadlines[0].met()
            self.begin("next", 3.0)

        self.deadlines.begin(3.0, expire)
        deadlines.append(self.begin("met by the first", 3.0))
        self.clock.advance(3)
        self.clock.advance(3)
        self.assertEqual(self.expired, [("next", 6.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_fails_takes_nobody_along(self) -> None:
        def fail() -> None:
            raise ValueError("broken")

        self.deadlines.begin(3.0, fail)
        self.begin("next", 3.0)
        self.clock.advance(3)
        self.assertEqual(self.expired, [("next", 3.0)])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_none_expires_after_the_stop_also_from_within(self) -> None:
        self.deadlines.begin(3.0, self.deadlines.stop)
        self.begin("at the same time", 3.0)
        self.begin("later", 4.0)
        self.clock.advance(3)
        self.clock.advance(3)
        self.assertEqual(self.expired, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
