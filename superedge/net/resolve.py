"""Names to addresses through the reactor's resolver."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from superedge.interfaces import IReactor
from superedge.net.errors import ResolveError


@implementer(IResolutionReceiver)
class _Receiver:
    def __init__(self, host: str) -> None:
        self.host = host
        self.found: list[str] = []
        self.done: Deferred[list[str]] = Deferred()

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """The resolver has started."""

    def addressResolved(self, address: IAddress) -> None:
        text = cast(Any, address).host
        if text not in self.found:
            self.found.append(text)

    def resolutionComplete(self) -> None:
        if self.done.called:
            return
        if self.found:
            self.done.callback(self.found)
        else:
            self.done.errback(ResolveError(f"{self.host} has no address"))


async def resolve(reactor: IReactor, host: str) -> Sequence[str]:
    """IP literals of ``host``, best first; a literal resolves to itself. Raises ResolveError."""
    try:
        ip_address(host)
    except ValueError:
        receiver = _Receiver(host)
        resolver = reactor.nameResolver
        resolver.resolveHostName(receiver, host, 0, [IPv4Address, IPv6Address])
        return await receiver.done
    return [host]
