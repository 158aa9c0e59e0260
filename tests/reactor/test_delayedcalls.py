"""Calls that one owner has outstanding."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.reactor.delayedcalls import DelayedCalls


class DelayedCallsTests(SynchronousTestCase):
    def test_called_in_time_unless_cancelled(self) -> None:
        clock, done = Clock(), list[int]()
        calls = DelayedCalls(clock)
        for delay in (1, 2, 3):
            calls.call_later(delay, done.append, delay)
        clock.advance(1)
        self.assertEqual(done, [1])
        calls.cancel_all()
        calls.cancel_all()
        self.assertEqual(clock.getDelayedCalls(), [])
        calls.call_later(1, done.append, 4)
        clock.advance(5)
        self.assertEqual(done, [1, 4])
