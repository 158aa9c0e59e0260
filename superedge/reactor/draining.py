"""What is under way gets a bounded time to finish."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

LOOK = 0.05
"""Seconds between two looks."""


async def drained(reactor: IReactorTime, busy: Callable[[], bool], timeout: float) -> None:
    """Return once nothing is ``busy``, or after ``timeout`` seconds."""
    end = reactor.seconds() + timeout
    while busy() and reactor.seconds() < end:
        await deferLater(reactor, LOOK)
