"""Resolves host names with the reactor's resolver."""

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

MAX_NAME = 253
"""Bytes of a host name (RFC 1123 section 2.1, RFC 1035 section 2.3.4)."""
MAX_SHOWN = 100


def _may_resolve(host: str) -> bool:
    """Whether the name can be encoded. Twisted's resolver never answers for a name that cannot."""
    if len(host) > MAX_NAME + 1:  # with the root's dot
        return False
    try:
        encoded = host.encode("idna")
    except UnicodeError:  # an empty label, or one of more than 63 bytes
        return False
    return 0 < len(encoded.removesuffix(b".")) <= MAX_NAME and b"\0" not in encoded


@implementer(IResolutionReceiver)
class _Receiver:
    def __init__(self, host: str) -> None:
        self.host = host
        self.found: list[str] = []
        self.done: Deferred[list[str]] = Deferred()

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """Not used."""

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
    """The IP literals of ``host``, best first. A literal resolves to itself. Raises ResolveError."""
    try:
        ip_address(host)
    except ValueError:
        if not _may_resolve(host):
            raise ResolveError(f"{host[:MAX_SHOWN]!r} is not a host name") from None
        receiver = _Receiver(host)
        resolver = reactor.nameResolver
        resolver.resolveHostName(receiver, host, 0, [IPv4Address, IPv6Address])
        return await receiver.done
    return [host]
