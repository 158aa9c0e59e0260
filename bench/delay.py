"""``python -m bench.delay PORT TARGET_PORT MILLISECONDS``: a relay that makes the path longer, both ways."""

from __future__ import annotations

import sys
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure

MAX_UNDER_WAY = 64 * 1024 * 1024


class End(Protocol):
    """Hands what it gets to the other end, later."""

    other: End | None = None

    def __init__(self, reactor: Any, delay: float) -> None:
        self._reactor = reactor
        self._delay = delay
        self._waiting: list[bytes] = []
        self._under_way = 0

    def connectionMade(self) -> None:
        """No waiting for more to send."""
        cast(Any, self.transport).setTcpNoDelay(True)

    def join(self, other: End) -> None:
        """Both ends are there."""
        self.other = other
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self.dataReceived(data)

    def dataReceived(self, data: bytes) -> None:
        """Deliver it when its time has come."""
        if self.other is None:
            self._waiting.append(data)
            return
        self._under_way += len(data)
        if self._under_way > MAX_UNDER_WAY:
            cast(Any, self.transport).pauseProducing()
        self._reactor.callLater(self._delay, self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        self._under_way -= len(data)
        transport: Any = self.transport
        if self._under_way < MAX_UNDER_WAY // 2 and transport.connected:
            transport.resumeProducing()
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other end goes, too, after what is under way."""
        if self.other is not None and self.other.transport is not None:
            self._reactor.callLater(self._delay, self.other.transport.loseConnection)


def main(reactor: Any, port: str, target: str, milliseconds: str) -> Any:
    """Relay until killed; ``milliseconds`` are of the round trip."""
    delay = float(milliseconds) / 2000

    class Near(Factory):
        noisy = False

        def buildProtocol(self, addr: Any) -> End:
            near = End(reactor, delay)
            far = End(reactor, delay)

            def joined(_: object) -> None:
                near.join(far)
                far.join(near)

            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", int(target))
            connectProtocol(endpoint, far).addCallback(joined)
            return near

    listening = TCP4ServerEndpoint(reactor, int(port), interface="127.0.0.1").listen(Near())
    return listening.addCallback(lambda _: Deferred())


if __name__ == "__main__":
    react(main, sys.argv[1:])
