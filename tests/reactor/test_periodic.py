"""Calls at regular times go on whatever one of them raises, until they are stopped."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.reactor.periodic import PeriodicCall


class PeriodicCallTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.times: list[float] = []
        self.call = PeriodicCall(self.clock, 2.0, lambda: self.times.append(self.clock.seconds()))

    def test_called_from_start_to_stop(self) -> None:
        self.call.start()
        self.assertTrue(self.call.running)
        self.clock.pump([1.0] * 5)
        self.call.stop()
        self.assertFalse(self.call.running)
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.times, [2.0, 4.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_first_call_at_once(self) -> None:
        self.call.start(now=True)
        self.assertEqual(self.times, [0.0])

    def test_may_be_started_again_and_stopped_before_it_is_started(self) -> None:
        self.call.stop()
        for _ in range(2):
            self.call.start()
            self.clock.advance(2)
            self.call.stop()
        self.assertEqual(self.times, [2.0, 4.0])

    def test_a_call_that_fails_is_logged_and_not_the_last(self) -> None:
        def fail() -> None:
            self.times.append(self.clock.seconds())
            raise ValueError("no")

        PeriodicCall(self.clock, 1.0, fail).start()
        self.clock.pump([1.0, 1.0])
        self.assertEqual(self.times, [1.0, 2.0])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1, "it is said once a minute")
