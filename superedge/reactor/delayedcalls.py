"""Delayed calls that can be cancelled together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class DelayedCalls:
    """The outstanding delayed calls of one owner."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._calls: list[IDelayedCall] = []

    def call_later(self, delay: float, function: Callable[..., Any], *arguments: Any) -> None:
        """Call ``function`` after ``delay`` seconds."""
        self._calls = [call for call in self._calls if call.active()]
        self._calls.append(self._reactor.callLater(delay, function, *arguments))

    def cancel_all(self) -> None:
        """Cancel every outstanding call."""
        calls, self._calls = self._calls, []
        for call in calls:
            if call.active():
                call.cancel()
