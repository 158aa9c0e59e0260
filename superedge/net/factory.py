"""A protocol factory that calls a function.

Twisted's own ``Factory.forProtocol`` also sets the protocol's attribute ``factory``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Factory


class CallableFactory(Factory):
    """Calls ``build`` for the protocol of each connection."""

    noisy = False

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build

    def buildProtocol(self, addr: Any) -> Any:
        return self._build()
