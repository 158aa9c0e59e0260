"""Deadlines that are met as a rule."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

_log = Logger()


class Deadlines:
    """Those of one owner, with one timer for all of the same length: a delayed call each would cost more
    than most of what they watch.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._running: dict[float, _Running] = {}
        """By length, and there in the order in which they are due."""
        self._timers: dict[float, IDelayedCall] = {}

    def begin(self, seconds: float, expired: Callable[[], None]) -> Deadline:
        """Call ``expired`` in so many seconds unless the deadline is met before."""
        running = self._running.get(seconds)
        if running is None:
            running = self._running[seconds] = {}
        deadline = Deadline(running)
        running[deadline] = self._reactor.seconds() + seconds, expired
        if seconds not in self._timers:
            self._timers[seconds] = self._reactor.callLater(seconds, self._look, seconds)
        return deadline

    def __len__(self) -> int:
        """How many are neither met nor expired."""
        return sum(map(len, self._running.values()))

    def stop(self) -> None:
        """No deadline expires any more."""
        for timer in self._timers.values():
            timer.cancel()
        for running in self._running.values():
            running.clear()
        self._timers.clear()
        self._running.clear()

    def _look(self, seconds: float) -> None:
        del self._timers[seconds]
        running, now = self._running[seconds], self._reactor.seconds()
        while running:
            deadline, (due, expired) = next(iter(running.items()))
            if due > now:
                if seconds not in self._timers:
                    self._timers[seconds] = self._reactor.callLater(due - now, self._look, seconds)
                return
            del running[deadline]
            try:
                expired()
            except Exception:
                _log.failure("what follows a deadline failed")
        self._running.pop(seconds, None)


class Deadline:
    """One of them."""

    __slots__ = ("_running",)

    def __init__(self, running: _Running) -> None:
        self._running = running

    def met(self) -> None:
        """It need not expire."""
        self._running.pop(self, None)


_Running = dict[Deadline, tuple[float, Callable[[], None]]]
"""When each is due, and what to call then."""
