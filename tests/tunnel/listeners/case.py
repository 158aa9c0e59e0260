"""A caller of a listener, and an edge that connects when the test says so, joined in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.listeners import TCPListenerConfig
from superedge.config.tunnel import LimitsConfig
from superedge.mux.stream import MuxStream
from superedge.tunnel.dial import dial
from superedge.tunnel.listeners.base import Listener
from superedge.tunnel.listeners.tcp import TCPListener
from superedge.tunnel.messages import DialRequest
from superedge.tunnel.serve import StreamServer
from tests.mux.pair import Pair


class Socket(StringTransport):
    """A caller's or a target's connection."""

    protocol: Any = None
    peer_common_name: str | None = None
    finished = False
    aborted = False

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))
        super().write(data)

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseWriteConnection(self) -> None:
        self.finished = True

    def abortConnection(self) -> None:
        self.aborted = True


class Handler:
    def __init__(self) -> None:
        self.done: Deferred[Any] = Deferred()

    async def connect(self, reactor: Any, request: Mapping[str, Any], timeout: float) -> Any:
        return await self.done


class ListenerCase(SynchronousTestCase):
    """A tcp listener, unless a test makes another."""

    options: dict[str, Any] = {}
    opening: Deferred[None] | None = None
    """Fires when streams may be opened; None for at once."""

    def setUp(self) -> None:
        self.pair, self.handler = Pair(), Handler()
        self.pair.on_accept = StreamServer(
            cast(Any, self.pair.clock), {"tcp": self.handler}, LimitsConfig()
        ).accept
        self.listener = self.make_listener()
        if self.listener._idle is not None:  # startService would listen as well
            self.listener._idle.start()
        self.caller, self.target = Socket(), Socket()
        self.caller.protocol = self.listener.make_protocol()
        self.caller.protocol.makeConnection(self.caller)
        self.pair.pump()

    def make_listener(self) -> Listener:
        config = TCPListenerConfig(listen="127.0.0.1:0", node="edge-1", target="127.0.0.1:1", **self.options)
        return TCPListener(cast(Any, self.pair.clock), cast(Any, self), config)

    def knows(self, node: str) -> bool:
        return node == "edge-1"

    async def open(
        self,
        node: str,
        address: str,
        *,
        timeout: float,
        kind: str = "tcp",
        on_stream: Any = None,
        caller: str = "",
    ) -> MuxStream:
        if self.opening is not None:
            await self.opening
        request = DialRequest(kind, address, timeout, caller)
        return await dial(self.pair.dialer, request, on_stream)

    def says(self, data: bytes) -> None:
        self.caller.protocol.dataReceived(data)
        self.pair.pump()

    def wait(self, seconds: int) -> None:
        """Nothing happens but pings."""
        for _ in range(seconds // 10):
            self.pair.clock.advance(10)
            self.pair.pump()

    def connect(self) -> None:
        """The target is connected."""
        self.handler.done.callback(self.target)
        self.pair.pump()
