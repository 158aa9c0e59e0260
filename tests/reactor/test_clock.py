from __future__ import annotations

import time
from typing import cast

from twisted.internet.epollreactor import EPollReactor
from twisted.trial.unittest import SynchronousTestCase

from superedge.interfaces import IReactor
from superedge.reactor.clock import use_monotonic_clock


class ClockTests(SynchronousTestCase):
    def test_a_wall_clock_that_is_set_back_stops_no_timer(self) -> None:
        reactor = EPollReactor()
        self.addCleanup(reactor._poller.close)
        use_monotonic_clock(cast(IReactor, reactor))
        called: list[str] = []
        reactor.callLater(0.0, called.append, "timer")
        self.patch(time, "time", lambda: 0.0)
        reactor.runUntilCurrent()
        self.assertEqual(called, ["timer"])
        self.assertLessEqual(reactor.seconds(), time.monotonic())
