from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.reactor.busypoll import SPIN_TIME, BusyPoll, Events

POLL_COST = SPIN_TIME / 10
"""Seconds that looking for events once takes."""


class Poller:
    """Has an event at each of the given times; looking and sleeping take time."""

    def __init__(self, *times: float) -> None:
        self.seconds = 0.0
        self.times = list(times)
        self.asked: list[float] = []
        self.gave_way = 0

    def poll(self, timeout: float, most: int) -> Events:
        self.asked.append(timeout)
        if timeout:
            end = self.seconds + timeout if timeout > 0 else float("inf")
            self.seconds = max(self.seconds, min(end, *self.times, end))
        else:
            self.seconds += POLL_COST
        due = [time for time in self.times if time <= self.seconds][:most]
        self.times = self.times[len(due) :]
        return [(number, 1) for number, _ in enumerate(due)]

    def yield_cpu(self) -> None:
        self.gave_way += 1


class BusyPollTests(SynchronousTestCase):
    def start(self, *times: float) -> tuple[BusyPoll, Poller]:
        poller = Poller(*times)
        return BusyPoll(poller.poll, lambda: poller.seconds, poller.yield_cpu), poller

    def test_it_sleeps_until_an_event(self) -> None:
        busy, poller = self.start(5.0, 10.0)
        self.assertEqual(busy.wait(None, 4), [(0, 1)])
        self.assertEqual(busy.wait(30.0, 4), [(0, 1)])
        self.assertEqual(poller.asked, [-1, 30.0])
        self.assertEqual(poller.seconds, 10.0)

    def test_it_sleeps_until_the_timeout(self) -> None:
        busy, poller = self.start(5.0)
        self.assertEqual(busy.wait(2.0, 4), [])
        self.assertEqual(poller.seconds, 2.0)

    def test_after_a_short_wait_it_stays_awake(self) -> None:
        busy, poller = self.start(SPIN_TIME / 2, SPIN_TIME * 1.2)
        busy.wait(None, 4)
        self.assertEqual(busy.wait(None, 4), [(0, 1)])
        self.assertEqual(set(poller.asked[1:]), {0})
        self.assertEqual(poller.gave_way, len(poller.asked[1:]) - 1)

    def test_it_does_not_stay_awake_for_long_nor_again(self) -> None:
        busy, poller = self.start(SPIN_TIME / 2, 5.0, 10.0)
        busy.wait(None, 4)
        self.assertEqual(busy.wait(None, 4), [(0, 1)])
        looked = poller.asked[1:]
        self.assertEqual(looked, [0] * (len(looked) - 1) + [-1])
        self.assertLessEqual(len(looked) - 1, SPIN_TIME / POLL_COST + 1)
        busy.wait(None, 4)
        self.assertEqual(poller.asked[1 + len(looked) :], [-1])

    def test_awake_or_not_the_timeout_holds(self) -> None:
        busy, poller = self.start(SPIN_TIME / 2, 5.0)
        busy.wait(None, 4)
        self.assertEqual(busy.wait(2.0, 4), [])
        self.assertLessEqual(poller.seconds, 2.0 + 2 * SPIN_TIME)

    def test_without_time_it_looks_once(self) -> None:
        busy, poller = self.start(SPIN_TIME / 2, 5.0)
        busy.wait(None, 4)
        self.assertEqual(busy.wait(0, 4), [])
        self.assertEqual(poller.asked, [-1, 0])

    def test_no_more_events_than_asked_for(self) -> None:
        busy, _ = self.start(*[SPIN_TIME / 2] * 5)
        self.assertEqual(len(busy.wait(None, 3)), 3)
        self.assertEqual(len(busy.wait(None, 3)), 2)
