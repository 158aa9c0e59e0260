"""Loops that are to go on as long as their owner does, and which of them do not."""

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
"""Seconds that a turn may take beyond the time it was given before the loop counts as standing."""
REPEAT = 60.0
"""Seconds between two log lines about the same loop."""

_log = Logger()


class Turns:
    """The turns of one loop: when the last good one ended, when the next is due, what went wrong since."""

    __slots__ = ("__weakref__", "_due", "_problem", "_reactor", "_since", "_told_at", "_untold", "name")

    def __init__(self, reactor: IReactorTime, name: str) -> None:
        self.name = name
        self._reactor = reactor
        self._since = 0.0
        self._due: float | None = None
        self._problem = ""
        self._told_at: float | None = None
        self._untold = 0

    def begin(self, due: float | None) -> None:
        """The loop starts; see `done`."""
        self._problem = ""
        self.done(due)
        _running.add(self)

    def end(self) -> None:
        """The loop was stopped."""
        _running.discard(self)

    def done(self, due: float | None) -> None:
        """A turn ended well. The next is to end within ``due`` seconds; None when nobody can say."""
        self._since = self._reactor.seconds()
        self._due = due
        if self._problem:
            self._problem = ""
            _log.info("{loop} goes on", loop=self.name)

    def failed(self, failure: Failure) -> None:
        """A turn ended with what nobody expected. The log has it once in `REPEAT` seconds."""
        now = self._reactor.seconds()
        if not self._problem and self._due is None:
            self._since, self._due = now, 0.0
        self._problem = failure.getErrorMessage() or type(failure.value).__name__
        if self._told_at is None or now - self._told_at >= REPEAT:
            _log.failure(
                "{loop} failed and is tried again ({more} more since the last such line)",
                failure,
                loop=self.name,
                more=self._untold,
            )
            self._told_at, self._untold = now, 0
        else:
            self._untold += 1

    def trouble(self) -> str:
        """A clause when no turn has ended well for too long; else empty."""
        if self._due is None:
            return ""
        standing = self._reactor.seconds() - self._since
        if standing <= self._due + GRACE:
            return ""
        cause = f": {self._problem}" if self._problem else ""
        return f"{self.name} has not turned for {standing:.0f} s{cause}"


_running: WeakSet[Turns] = WeakSet()


def standing_loops() -> list[str]:
    """A clause for each loop of this process that has not turned when it should have."""
    return sorted(text for text in (turns.trouble() for turns in list(_running)) if text)


class Loop:
    """Runs a coroutine function that loops; what it raises is logged, and it is called again after a pause.

    It ends when it is stopped, or when the coroutine returns.

    Args:
        reactor: time.
        name: for the log and the health page, such as ``the probe``.
        run: loops, and calls `turned` after each turn.
        due: seconds within which the first turn ends; None when nobody can say.
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
        self._turns = Turns(reactor, name)
        self._backoff = Backoff(initial=1.0, maximum=30.0, stable=30.0)
        self._running: Deferred[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin."""
        self._stopped = False
        self._turns.begin(self._due)
        self._running = in_background(self._supervise(), _log, "{loop} ended", loop=self._turns.name)

    def stop(self) -> None:
        """End, if it was started."""
        self._stopped = True
        self._turns.end()
        if self._running is not None:
            self._running.cancel()

    def turned(self, due: float | None = None) -> None:
        """A turn is over. The next is to end within ``due`` seconds; None when nobody can say."""
        self._turns.done(due)

    async def _supervise(self) -> None:
        while True:
            self._backoff.connected(self._reactor.seconds())
            try:
                await self._run()
            except CancelledError:
                if self._stopped:
                    raise
                # Something that it awaited was cancelled by another than its owner.
                self._turns.failed(Failure())
            except Exception:
                self._turns.failed(Failure())
            else:
                self._turns.end()
                return
            await deferLater(self._reactor, self._backoff.failed(self._reactor.seconds()))
