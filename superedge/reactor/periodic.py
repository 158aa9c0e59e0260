"""A periodic call that survives exceptions and reports when it stalls."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from superedge.reactor.loops import LoopMonitor


class PeriodicCall:
    """Calls ``function`` every ``interval`` seconds from `start` to `stop`. Its exceptions are logged.

    The log and the health page show ``name``; by default the function's own name.
    """

    __slots__ = ("_function", "_interval", "_loop", "_monitor")

    def __init__(
        self, reactor: IReactorTime, interval: float, function: Callable[[], object], name: str = ""
    ) -> None:
        self._interval = interval
        self._function = function
        self._monitor = LoopMonitor(reactor, name or getattr(function, "__qualname__", "a periodic call"))
        self._loop = LoopingCall(self._call)
        self._loop.clock = reactor

    def _call(self) -> None:
        try:
            self._function()
        except Exception:
            self._monitor.failed(Failure())
        else:
            self._monitor.succeeded(self._interval)

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped."""
        return bool(self._loop.running)

    def start(self, now: bool = False) -> None:
        """Start, with a first call at once if ``now``."""
        self._monitor.start(self._interval)
        self._loop.start(self._interval, now)

    def stop(self) -> None:
        self._monitor.stop()
        if self._loop.running:
            self._loop.stop()
