"""Loops that run as long as their owner, restart after an exception, and report when they stall."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from weakref import WeakSet

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.reactor.backoff import Backoff
from superedge.reactor.task import in_background

GRACE = 10.0
"""Seconds that an iteration may take beyond its expected time before the loop counts as stalled."""
LOG_INTERVAL = 60.0
"""Seconds between two log lines about the same loop."""

_log = Logger()


class LoopMonitor:
    """Records when a loop's last iteration succeeded, when the next must end, and which error came since."""

    __slots__ = ("__weakref__", "_due", "_logged_at", "_problem", "_reactor", "_since", "_unlogged", "name")

    def __init__(self, reactor: IReactorTime, name: str) -> None:
        self.name = name
        self._reactor = reactor
        self._since = 0.0
        self._due: float | None = None
        self._problem = ""
        self._logged_at: float | None = None
        self._unlogged = 0

    def start(self, due: float | None) -> None:
        """The loop starts; ``due`` as in `succeeded`."""
        self._problem = ""
        self.succeeded(due)
        _running.add(self)

    def stop(self) -> None:
        """The loop was stopped: it cannot stall any more."""
        _running.discard(self)

    def succeeded(self, due: float | None) -> None:
        """An iteration succeeded. The next must end within ``due`` seconds; None for no limit."""
        self._since = self._reactor.seconds()
        self._due = due
        if self._problem:
            self._problem = ""
            _log.info("{loop} recovered", loop=self.name)

    def failed(self, failure: Failure) -> None:
        """An iteration ended with an unexpected error. The error is logged once in `LOG_INTERVAL` seconds."""
        now = self._reactor.seconds()
        if not self._problem and self._due is None:
            self._since, self._due = now, 0.0
        self._problem = failure.getErrorMessage() or type(failure.value).__name__
        if self._logged_at is None or now - self._logged_at >= LOG_INTERVAL:
            _log.failure(
                "{loop} failed and is tried again ({more} more failures since the last such line)",
                failure,
                loop=self.name,
                more=self._unlogged,
            )
            self._logged_at, self._unlogged = now, 0
        else:
            self._unlogged += 1

    def stall(self) -> str:
        """A clause that describes the stall when no iteration succeeded in time; otherwise empty."""
        if self._due is None:
            return ""
        elapsed = self._reactor.seconds() - self._since
        if elapsed <= self._due + GRACE:
            return ""
        cause = f": {self._problem}" if self._problem else ""
        return f"{self.name} has stalled for {elapsed:.0f} s{cause}"


_running: WeakSet[LoopMonitor] = WeakSet()


def stalled_loops() -> list[str]:
    """A clause for each loop of this process that has stalled."""
    return sorted(text for text in (monitor.stall() for monitor in list(_running)) if text)


class Loop:
    """Runs a coroutine function that loops. An exception is logged, and the function is called again.

    The delay before that call grows with repeated exceptions. The loop ends when `stop` is called or when the
    coroutine returns.

    Args:
        reactor: time.
        name: for the log and the health page, such as ``the probe``.
        run: the coroutine function; it calls `iteration_done` after each iteration.
        due: seconds within which the first iteration must end; None for no limit.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        name: str,
        run: Callable[[], Coroutine[Deferred[Any], Any, None]],
        due: float | None = None,
    ) -> None:
        self._reactor = reactor
        self._run = run
        self._due = due
        self._monitor = LoopMonitor(reactor, name)
        self._backoff = Backoff(initial=1.0, maximum=30.0, stable=30.0)
        self._running: Deferred[None] | None = None
        self._stopped = False

    def start(self) -> None:
        self._stopped = False
        self._monitor.start(self._due)
        self._running = in_background(self._supervise(), _log, "{loop} ended", loop=self._monitor.name)

    def stop(self) -> None:
        self._stopped = True
        self._monitor.stop()
        if self._running is not None:
            self._running.cancel()

    def iteration_done(self, due: float | None = None) -> None:
        """An iteration ended. The next must end within ``due`` seconds; None for no limit."""
        self._monitor.succeeded(due)

    async def _supervise(self) -> None:
        while True:
            self._backoff.connected(self._reactor.seconds())
            try:
                await self._run()
            except CancelledError:
                if self._stopped:
                    raise
                # The loop was not stopped: a Deferred that it awaited was cancelled by other code.
                self._monitor.failed(Failure())
            except Exception:
                self._monitor.failed(Failure())
            else:
                self._monitor.stop()
                return
            await deferLater(self._reactor, self._backoff.failed(self._reactor.seconds()))
