"""Calls at regular times."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

_log = Logger()


class PeriodicCall:
    """Calls ``function`` every ``interval`` seconds from `start` to `stop`. What it raises is logged."""

    __slots__ = ("_function", "_interval", "_loop")

    def __init__(self, reactor: IReactorTime, interval: float, function: Callable[[], object]) -> None:
        self._interval = interval
        self._function = function
        self._loop = LoopingCall(self._call)
        self._loop.clock = reactor

    def _call(self) -> None:
        try:
            self._function()
        except Exception:
            _log.failure("a periodic call failed")

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped."""
        return bool(self._loop.running)

    def start(self, now: bool = False) -> None:
        """Begin, with a first call at once if ``now``."""
        self._loop.start(self._interval, now)

    def stop(self) -> None:
        """Call no more, if it ever did."""
        if self._loop.running:
            self._loop.stop()
