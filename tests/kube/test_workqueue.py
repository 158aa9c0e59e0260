from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.errors import Unavailable
from superedge.kube.workqueue import WorkQueue


class WorkQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.called: list[str] = []
        self.waiting: list[Deferred[None]] = []
        self.failures = 0
        self.queue: WorkQueue[str] = WorkQueue(
            self.clock, self.reconcile, workers=2, initial=1.0, maximum=4.0, random=Random(1)
        )
        self.queue.startService()

    async def reconcile(self, key: str) -> None:
        self.called.append(key)
        if key.startswith("slow"):
            self.waiting.append(Deferred())
            await self.waiting[-1]
        if self.failures:
            self.failures -= 1
            raise Unavailable("away")

    def test_a_key_is_reconciled_once_however_often_it_is_added(self) -> None:
        self.queue.stopService()
        for _ in range(3):
            self.queue.add("a")
        self.assertEqual(self.called, [])
        self.queue.startService()
        self.assertEqual(self.called, ["a"])

    def test_never_twice_at_once_and_again_afterwards(self) -> None:
        for _ in range(3):
            self.queue.add("slow")
        self.assertEqual(self.called, ["slow"])
        self.waiting.pop().callback(None)
        self.assertEqual(self.called, ["slow", "slow"])
        self.waiting.pop().callback(None)
        self.assertEqual((self.called, len(self.queue)), (["slow", "slow"], 0))

    def test_so_many_at_once(self) -> None:
        for number in range(4):
            self.queue.add(f"slow{number}")
        self.assertEqual(len(self.called), 2)
        self.waiting.pop(0).callback(None)
        self.assertEqual(len(self.called), 3)

    def test_failures_come_again_at_growing_distances(self) -> None:
        self.failures = 4
        self.queue.add("a")
        times = []
        for _ in range(200):
            before = len(self.called)
            self.clock.advance(0.1)
            if len(self.called) > before:
                times.append(self.clock.seconds())
        pauses = [b - a for a, b in zip([0.0, *times], times, strict=False)]
        for pause, low, high in zip(pauses, (0.5, 1, 2, 2), (1.1, 2.1, 4.1, 4.1), strict=True):
            self.assertTrue(low <= pause <= high, pauses)

    def test_a_success_forgets_the_failures(self) -> None:
        self.failures = 1
        self.queue.add("a")
        self.clock.advance(1.1)
        self.failures = 1
        self.queue.add("a")
        self.clock.advance(1.1)
        self.assertEqual(len(self.called), 4)

    def test_one_keys_failures_hold_no_other_up(self) -> None:
        self.failures = 1
        self.queue.add("a")
        self.queue.add("b")
        self.assertEqual(self.called, ["a", "b"])

    def test_later(self) -> None:
        self.queue.add_after("a", 5)
        self.queue.add_after("a", 2)
        self.queue.add_after("a", 9)
        self.clock.advance(1.9)
        self.assertEqual(self.called, [])
        self.clock.advance(0.2)
        self.clock.advance(20)
        self.assertEqual(self.called, ["a"])

    def test_what_is_no_problem_of_the_api_is_logged_and_tried_again_all_the_same(self) -> None:
        faults = [ZeroDivisionError(), ZeroDivisionError()]

        async def broken(key: str) -> None:
            self.called.append(key)
            if faults:
                raise faults.pop()

        queue: WorkQueue[str] = WorkQueue(self.clock, broken)
        queue.startService()
        queue.add("a")
        self.clock.pump([0.5] * 4)
        self.assertEqual((self.called, len(queue)), (["a"] * 3, 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_a_stopped_queue_does_nothing_more(self) -> None:
        self.queue.add("slow")
        self.queue.add_after("a", 1)
        self.queue.stopService()
        self.clock.advance(10)
        self.assertEqual((self.called, self.clock.getDelayedCalls()), (["slow"], []))

    def test_many_keys_that_need_no_waiting(self) -> None:
        self.queue.stopService()
        for number in range(2000):
            self.queue.add(str(number))
        self.queue.startService()
        self.assertEqual(len(self.called), 2000)

    def test_others_have_their_turn_between_many_keys(self) -> None:
        self.queue.stopService()
        for number in range(3):
            self.queue.add(str(number))
        self.clock.rightNow = 0.0
        self.patch(self.clock, "seconds", iter(range(100)).__next__)
        self.queue.startService()
        self.assertEqual(self.called, ["0"])
        self.queue.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
