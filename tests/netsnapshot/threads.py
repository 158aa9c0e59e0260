"""A clock whose threads are done at once, or when a test says so."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure


class Threads:
    """What of a reactor the service uses, on ``clock``; ``readers`` are its file descriptors."""

    def __init__(self, clock: Clock) -> None:
        self.callLater, self.seconds = clock.callLater, clock.seconds
        self.readers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard

    def getThreadPool(self) -> Any:
        return self

    def callInThreadWithCallback(self, done: Any, function: Any, *arguments: Any) -> None:
        try:
            result = function(*arguments)
        except Exception:
            done(False, Failure())
        else:
            done(True, result)

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        function(*arguments)
