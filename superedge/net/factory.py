"""A protocol factory that calls a function: Twisted's own would set an attribute on what that makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Factory


class MakingFactory(Factory):
    """``make`` gives the protocol of each connection."""

    noisy = False

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> Any:
        """A new protocol."""
        return self._make()
