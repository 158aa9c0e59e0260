"""The edge's end of the stream that the judging replica opens to a node."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, cast

from twisted.internet.protocol import Protocol
from twisted.plugin import IPlugin
from zope.interface import implementer

from superedge.health.protocol import HealthProtocol
from superedge.health.votes.messages import KIND
from superedge.interfaces import IReactor, IStreamHandler
from superedge.net.transport import StreamTransport


@implementer(IPlugin, IStreamHandler)
class UplinkHandler:
    """Connects streams of the kind ``health`` to this process, over a socket pair."""

    kind = KIND

    def __init__(self, uplink: Callable[[], HealthProtocol]) -> None:
        """``uplink`` makes the protocol of a new stream."""
        self._uplink = uplink

    async def connect(self, reactor: IReactor, request: Mapping[str, Any], timeout: float) -> Any:
        """The paused other end of a new connection."""
        protocol = self._uplink()
        here, there = socket.socketpair()
        for each in (here, there):
            each.setblocking(False)
        StreamTransport(here, cast(Any, protocol), reactor, "").begin()
        return StreamTransport(there, Protocol(), reactor, "")
