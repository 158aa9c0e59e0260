"""``python -m superedge.testing.link PORT:TARGET_PORT ...`` simulates the link between a site and the cloud.

It is a relay on loopback. Killing it interrupts the link: connections break, and new ones are refused.
"""

from __future__ import annotations

import argparse
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.net.errors import ConnectError
from superedge.net.splice import splice


class _Waiting(Protocol):
    """The protocol of a connection before both sides are connected."""

    def connectionMade(self) -> None:
        cast(Any, self.transport).pauseProducing()


class _Relay(Factory):
    """Splices each connection to a new one to the target."""

    noisy = False

    def __init__(self, reactor: IReactor, target: int) -> None:
        self._target = ClientEndpoint(reactor, TCPAddress("127.0.0.1", target))

    def buildProtocol(self, addr: Any) -> Protocol:
        protocol = _Waiting()
        Deferred.fromCoroutine(self._join(protocol))
        return protocol

    async def _join(self, near: Protocol) -> None:
        factory = Factory()
        factory.protocol = _Waiting
        factory.noisy = False
        try:
            far = cast(Protocol, await self._target.connect(cast(Any, factory)))
        except ConnectError:
            cast(Any, near.transport).abortConnection()
            return
        if near.transport is not None:
            splice(near.transport, far.transport)


async def run(reactor: IReactor, pairs: list[tuple[int, int]]) -> None:
    """Relay until SIGTERM."""
    for port, target in pairs:
        endpoint = ServerEndpoint(reactor, TCPAddress("127.0.0.1", port))
        await endpoint.listen(cast(Any, _Relay(reactor, target)))
    await Deferred()


def _pair(text: str) -> tuple[int, int]:
    port, _, target = text.partition(":")
    return int(port), int(target)


def main() -> None:
    """Parse the arguments and relay."""
    parser = argparse.ArgumentParser(prog="python -m superedge.testing.link", description=__doc__)
    parser.add_argument("pairs", nargs="+", type=_pair, metavar="PORT:TARGET_PORT")
    options = parser.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(run(cast(IReactor, reactor), options.pairs)))


if __name__ == "__main__":
    main()
