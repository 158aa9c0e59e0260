"""What is under way has its time to finish, and no more."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.reactor.draining import drained


class DrainedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.busy = True

    def wait(self, timeout: float) -> Deferred[None]:
        return Deferred.fromCoroutine(drained(self.clock, lambda: self.busy, timeout))

    def test_at_once_when_nothing_is_under_way(self) -> None:
        self.busy = False
        self.successResultOf(self.wait(10))

    def test_soon_after_the_last_has_finished(self) -> None:
        waiting = self.wait(10)
        self.clock.pump([0.1] * 20)
        self.assertNoResult(waiting)
        self.busy = False
        self.clock.advance(0.1)
        self.successResultOf(waiting)

    def test_after_the_time_whoever_is_still_there(self) -> None:
        waiting = self.wait(10)
        self.clock.pump([0.1] * 99)
        self.assertNoResult(waiting)
        self.clock.pump([0.1] * 3)
        self.successResultOf(waiting)
