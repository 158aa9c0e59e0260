"""Calls at regular times."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from superedge.reactor.loops import Turns


class PeriodicCall:
    """Calls ``function`` every ``interval`` seconds from `start` to `stop`. What it raises is logged.

    ``name`` is for the log and the health page; without one, it is the function's.
    """

    __slots__ = ("_function", "_interval", "_loop", "_turns")

    def __init__(
        self, reactor: IReactorTime, interval: float, function: Callable[[], object], name: str = ""
    ) -> None:
        self._interval = interval
        self._function = function
        self._turns = Turns(reactor, name or getattr(function, "__qualname__", "a periodic call"))
        self._loop = LoopingCall(self._call)
        self._loop.clock = reactor

    def _call(self) -> None:
        try:
            self._function()
        except Exception:
            self._turns.failed(Failure())
        else:
            self._turns.done(self._interval)

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped."""
        return bool(self._loop.running)

    def start(self, now: bool = False) -> None:
        """Begin, with a first call at once if ``now``."""
        self._turns.begin(self._interval)
        self._loop.start(self._interval, now)

    def stop(self) -> None:
        """Call no more, if it ever did."""
        self._turns.end()
        if self._loop.running:
            self._loop.stop()
