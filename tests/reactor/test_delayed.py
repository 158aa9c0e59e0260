"""Calls that one owner has outstanding."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.reactor.delayed import Later


class LaterTests(SynchronousTestCase):
    def test_called_in_time_unless_called_off(self) -> None:
        clock, done = Clock(), list[int]()
        later = Later(clock)
        for delay in (1, 2, 3):
            later.call(delay, done.append, delay)
        clock.advance(1)
        self.assertEqual(done, [1])
        later.call_off()
        later.call_off()
        self.assertEqual(clock.getDelayedCalls(), [])
        later.call(1, done.append, 4)
        clock.advance(5)
        self.assertEqual(done, [1, 4])
