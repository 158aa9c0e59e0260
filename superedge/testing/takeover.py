"""Takes over the connection of a twisted.web request, for another protocol."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IProtocol
from twisted.web.http import Request


def take_over(request: Request) -> tuple[Any, IProtocol]:
    """The connection's transport and its HTTP protocol.

    The caller replaces ``transport.protocol``. When the connection is lost, it calls ``connectionLost`` of
    the HTTP protocol, which ends the request.
    """
    transport: Any = cast(Any, request.channel).transport
    transport.unregisterProducer()
    return transport, transport.protocol
