"""Whether something listens on a port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IHealthChecker, IReactor
from superedge.net.connecting import connect_with_timeout


@implementer(IHealthChecker)
class TCPChecker:
    """Connects and closes."""

    def __init__(self, reactor: IReactor, options: Mapping[str, Any]) -> None:
        self._reactor = reactor

    async def check(self, host: str, port: int, timeout: float) -> None:
        """Raises ConnectError."""
        sock = await connect_with_timeout(self._reactor, TCPAddress(host, port), timeout)
        sock.close()

    def close(self) -> None:
        """Nothing is kept."""
