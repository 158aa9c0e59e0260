"""Loops go on whatever ends an iteration, and stalled loops are known."""

from __future__ import annotations

from twisted.internet.task import Clock, deferLater
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from superedge.reactor.loops import GRACE, LOG_INTERVAL, Loop, stalled_loops
from superedge.reactor.periodic import PeriodicCall
from tests.events import logged


class LoopTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.iterations: list[float] = []
        self.broken = False
        self.loop = Loop(self.clock, "the test's loop", self.run_loop, 1.0)
        self.addCleanup(self.loop.stop)

    async def run_loop(self) -> None:
        while True:
            self.iterations.append(self.clock.seconds())
            if self.broken:
                raise OSError(24, "Too many open files")
            self.loop.iteration_done(1.0)
            await deferLater(self.clock, 1.0)

    def pass_time(self, seconds: int) -> None:
        self.clock.pump([1.0] * seconds)

    def mine(self) -> list[str]:
        return [each for each in stalled_loops() if each.startswith("the test's")]

    def test_goes_on_after_what_nobody_expected(self) -> None:
        self.loop.start()
        self.broken = True
        self.pass_time(120)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 120 // int(LOG_INTERVAL) + 1 - 1)
        self.broken = False
        before = len(self.iterations)
        self.pass_time(40)
        self.assertGreater(len(self.iterations), before)
        self.assertEqual(self.mine(), [])

    def test_attempts_become_rare(self) -> None:
        self.loop.start()
        self.broken = True
        self.pass_time(300)
        self.assertLess(len(self.iterations), 25)
        self.flushLoggedErrors(OSError)

    def test_one_that_stands_still_is_told(self) -> None:
        self.loop.start()
        self.broken = True
        self.pass_time(int(GRACE) + 3)
        (text,) = self.mine()
        self.assertRegex(text, r"^the test's loop has stalled for \d+ s: .*Too many open files")
        self.loop.stop()
        self.assertEqual(self.mine(), [])
        self.flushLoggedErrors(OSError)

    def test_one_that_hangs_is_told_unless_nobody_can_say_how_long_it_takes(self) -> None:
        self.loop.start()
        self.loop.iteration_done(100.0)
        self.clock.rightNow += 100.0 + GRACE
        self.assertEqual(self.mine(), [])
        self.clock.rightNow += 1.0
        self.assertEqual(len(self.mine()), 1)
        self.loop.iteration_done()
        self.clock.rightNow += 1e6
        self.assertEqual(self.mine(), [])

    def test_stopped_it_does_not_begin_again(self) -> None:
        self.loop.start()
        self.loop.stop()
        self.pass_time(60)
        self.assertEqual(self.iterations, [0.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_logs_that_it_recovered(self) -> None:
        events = logged(self)
        self.loop.start()
        self.broken = True
        self.pass_time(2)
        self.broken = False
        self.pass_time(5)
        self.assertIn("the test's loop recovered", [formatEvent(event) for event in events])
        self.flushLoggedErrors(OSError)

    def test_periodic_calls_are_known_as_well(self) -> None:
        def fail() -> None:
            raise ValueError("no")

        call = PeriodicCall(self.clock, 1.0, fail, "the test's call")
        call.start()
        self.pass_time(int(GRACE) + 3)
        self.assertRegex(self.mine()[0], "^the test's call has stalled for .*: no")
        call.stop()
        self.assertEqual(self.mine(), [])
        self.flushLoggedErrors(ValueError)
