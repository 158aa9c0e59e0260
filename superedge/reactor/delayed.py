"""Calls that are due later and can be called off together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Later:
    """Those that one owner has outstanding."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._calls: list[IDelayedCall] = []

    def call(self, delay: float, function: Callable[..., Any], *arguments: Any) -> None:
        """Call ``function`` in so many seconds."""
        self._calls = [call for call in self._calls if call.active()]
        self._calls.append(self._reactor.callLater(delay, function, *arguments))

    def call_off(self) -> None:
        """None of them any more."""
        calls, self._calls = self._calls, []
        for call in calls:
            if call.active():
                call.cancel()
