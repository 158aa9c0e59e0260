"""Delays grow, stay bounded, spread, and reset only after a stable time."""

from __future__ import annotations

from math import inf
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from superedge.reactor.backoff import Backoff


class BackoffTests(SynchronousTestCase):
    def test_grows_to_the_maximum(self) -> None:
        backoff = Backoff(1, 8, 60, Random(1))
        delays = [backoff.failed(0) for _ in range(20)]
        for delay, ceiling in zip(delays, [1, 2, 4, 8, 8, 8], strict=False):
            self.assertTrue(ceiling / 2 <= delay <= ceiling, delays)
        self.assertLessEqual(max(delays), 8)
        self.assertGreater(len(set(delays[3:])), 10)

    def test_is_patient_at_first(self) -> None:
        backoff = Backoff(1, 8, 60, Random(1), initial_attempts=3)
        delays = [backoff.failed(0) for _ in range(6)]
        for delay, ceiling in zip(delays, [1, 1, 1, 2, 4, 8], strict=True):
            self.assertTrue(ceiling / 2 <= delay <= ceiling, delays)
        backoff.connected(0)
        self.assertEqual([backoff.failed(60) <= 1 for _ in range(3)], [True] * 3)

    def test_resets_after_a_stable_connection_only(self) -> None:
        backoff = Backoff(1, 64, 60, Random(1))
        for _ in range(5):
            backoff.failed(0)
        backoff.connected(100)
        self.assertGreater(backoff.failed(159), 8)
        backoff.connected(200)
        self.assertLessEqual(backoff.failed(260), 1)

    def test_after_a_stable_connection_it_grows_as_before(self) -> None:
        backoff = Backoff(1.0, 8.0, stable=60.0, random=Random(1))
        for _ in range(5):
            backoff.failed(0.0)
        backoff.connected(100.0)
        delays = [backoff.failed(160.0 + number) for number in range(6)]
        for delay, ceiling in zip(delays, (1, 2, 4, 8, 8, 8), strict=True):
            self.assertTrue(ceiling / 2 <= delay <= ceiling, delays)

    def test_a_delay_may_be_bounded_and_those_after_it_grow_from_there(self) -> None:
        backoff = Backoff(1.0, 64.0, random=Random(1))
        for _ in range(5):
            backoff.failed(0.0)
        delays = [backoff.failed(0.0, at_most) for at_most in (2.0, 2.0, inf, inf, 0.1)]
        for delay, ceiling in zip(delays, (2, 2, 4, 8, 1), strict=True):
            self.assertTrue(ceiling / 2 <= delay <= ceiling, delays)
        backoff.reset()
        self.assertLessEqual(backoff.failed(0.0), 1.0)

    def test_those_that_fail_at_once_come_back_spread_out(self) -> None:
        backoffs = [Backoff(1, 60, 60, Random(number)) for number in range(1000)]
        for ceiling in (1, 2, 4):
            tenths = [int((backoff.failed(0) / ceiling - 0.5) * 20) for backoff in backoffs]
            self.assertLess(max(map(tenths.count, range(10))), 140, "nowhere near all at one moment")
