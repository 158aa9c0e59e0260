"""Wait a bounded time for open work to finish."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

POLL_INTERVAL = 0.05
"""Seconds between two calls of ``busy``."""


async def drained(reactor: IReactorTime, busy: Callable[[], bool], timeout: float) -> None:
    """Return once ``busy()`` is false, or after ``timeout`` seconds."""
    end = reactor.seconds() + timeout
    while busy() and reactor.seconds() < end:
        await deferLater(reactor, POLL_INTERVAL)
