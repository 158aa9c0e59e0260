"""A reactor for a test of what runs in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure


class Threads:
    """A clock with threads that are done at once, or with ``slow`` when `finish` is called."""

    def __init__(self, clock: Clock) -> None:
        self.callLater, self.seconds = clock.callLater, clock.seconds
        self.slow = False
        self._waiting: list[Callable[[], None]] = []

    def getThreadPool(self) -> Any:
        return self

    def callInThreadWithCallback(self, done: Any, function: Any, *arguments: Any) -> None:
        def run() -> None:
            try:
                done(True, function(*arguments))
            except Exception:
                done(False, Failure())

        self._waiting.append(run)
        if not self.slow:
            self.finish()

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        function(*arguments)

    def finish(self) -> None:
        """Run what waits."""
        while self._waiting:
            self._waiting.pop(0)()
