"""Timeouts that are usually cancelled: starting and cancelling one costs a dictionary entry, no timer."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

_log = Logger()


class Deadlines:
    """The deadlines of one owner.

    All deadlines of the same length share one delayed call. A delayed call for each would cost more than most
    of the operations that they bound.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._running: dict[float, _Running] = {}
        """Deadlines by length; those of one length are in the order in which they expire."""
        self._timers: dict[float, IDelayedCall] = {}

    def start(self, seconds: float, expired: Callable[[], None]) -> Deadline:
        """Call ``expired`` after ``seconds`` unless the deadline is cancelled before."""
        running = self._running.get(seconds)
        if running is None:
            running = self._running[seconds] = {}
        deadline = Deadline(running)
        running[deadline] = self._reactor.seconds() + seconds, expired
        if seconds not in self._timers:
            self._timers[seconds] = self._reactor.callLater(seconds, self._check, seconds)
        return deadline

    def __len__(self) -> int:
        """The number of deadlines that are neither cancelled nor expired."""
        return sum(map(len, self._running.values()))

    def stop(self) -> None:
        """Cancel every deadline."""
        for timer in self._timers.values():
            timer.cancel()
        for running in self._running.values():
            running.clear()
        self._timers.clear()
        self._running.clear()

    def _check(self, seconds: float) -> None:
        del self._timers[seconds]
        running, now = self._running[seconds], self._reactor.seconds()
        while running:
            deadline, (due, expired) = next(iter(running.items()))
            if due > now:
                if seconds not in self._timers:
                    self._timers[seconds] = self._reactor.callLater(due - now, self._check, seconds)
                return
            del running[deadline]
            try:
                expired()
            except Exception:
                _log.failure("the callback of an expired deadline failed")
        self._running.pop(seconds, None)


class Deadline:
    """One running deadline."""

    __slots__ = ("_running",)

    def __init__(self, running: _Running) -> None:
        self._running = running

    def cancel(self) -> None:
        """Do not expire. May be called again, and after the deadline has expired."""
        self._running.pop(self, None)


_Running = dict[Deadline, tuple[float, Callable[[], None]]]
"""For each deadline, the reactor time at which it expires and the function to call then."""
