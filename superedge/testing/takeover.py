"""Taking the connection of a request away from twisted.web, to go on with raw bytes."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IProtocol
from twisted.web.http import Request


def take_over(request: Request) -> tuple[Any, IProtocol]:
    """The connection's transport and its HTTP protocol, which is to hear nothing more but its end.

    The caller replaces ``transport.protocol`` and, when the connection is lost, calls
    ``connectionLost`` of the HTTP protocol: that ends the request.
    """
    transport: Any = cast(Any, request.channel).transport
    transport.unregisterProducer()
    return transport, transport.protocol
