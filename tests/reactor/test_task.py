"""Coroutines on their own: they go on with what they wait for, fail aloud and can be called off."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.reactor.task import Task, in_background


class TaskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.steps: list[object] = []
        self.failures: list[Failure] = []

    async def walk(self, *waits: Deferred[object]) -> None:
        try:
            for each in waits:
                self.steps.append(await each)
        except ValueError as problem:
            self.steps.append(problem)
            raise
        finally:
            self.steps.append("end")

    def start(self, *waits: Deferred[object]) -> Task:
        return Task(self.walk(*waits), self.failures.append)

    def test_what_is_there_is_not_waited_for(self) -> None:
        self.start(succeed(1), succeed(2))
        self.assertEqual(self.steps, [1, 2, "end"])

    def test_goes_on_with_each_result(self) -> None:
        first, second = Deferred[object](), Deferred[object]()
        self.start(first, succeed(2), second)
        self.assertEqual(self.steps, [])
        first.callback(1)
        self.assertEqual(self.steps, [1, 2])
        second.callback(3)
        self.assertEqual(self.steps, [1, 2, 3, "end"])

    def test_a_failure_is_raised_inside_and_what_is_raised_is_told(self) -> None:
        wait, problem = Deferred[object](), ValueError("no")
        self.start(wait)
        wait.errback(problem)
        self.assertEqual(self.steps, [problem, "end"])
        self.assertIs(self.failures[0].value, problem)

    def test_is_told_also_when_it_never_waits(self) -> None:
        wait: Deferred[object] = Deferred()
        wait.errback(ValueError("no"))
        self.start(wait)
        self.assertEqual(len(self.failures), 1)

    def test_called_off(self) -> None:
        cancelled: list[object] = []
        task = self.start(Deferred(cancelled.append))
        task.cancel()
        self.assertEqual((len(cancelled), self.steps, self.failures), (1, ["end"], []))
        task.cancel()

    def test_whoever_is_called_off_may_go_on(self) -> None:
        async def stubborn() -> None:
            try:
                await Deferred()
            except CancelledError:
                self.steps.append(await succeed("tidied up"))

        Task(stubborn(), self.failures.append).cancel()
        self.assertEqual((self.steps, self.failures), (["tidied up"], []))


class InBackgroundTests(SynchronousTestCase):
    def run_until(self, wait: Deferred[None]) -> Deferred[None]:
        async def walk() -> None:
            await wait

        return in_background(walk(), Logger(), "walking on {leg} failed", leg="one")

    def test_ends_with_nothing(self) -> None:
        self.assertIsNone(self.successResultOf(self.run_until(succeed(None))))

    def test_called_off_it_ends_quietly(self) -> None:
        running = self.run_until(Deferred())
        running.cancel()
        self.assertIsNone(self.successResultOf(running))

    def test_what_it_raises_is_logged_and_ends_it(self) -> None:
        with capturedLogs() as events:
            self.assertIsNone(self.successResultOf(self.run_until(fail(ValueError("no")))))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(formatEvent(events[0]), "walking on one failed")
