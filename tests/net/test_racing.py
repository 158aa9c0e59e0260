"""Names with several addresses, some of which do not answer."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from superedge.config.addresses import TCPAddress
from superedge.net.connecting import connect
from superedge.net.endpoints import ServerEndpoint
from superedge.net.errors import ConnectionRefused
from superedge.net.racing import first_of
from tests.net.test_endpoints import EndpointCase, reactor


class RacingTests(EndpointCase):
    def setUp(self) -> None:
        super().setUp()
        self.sockets: list[socket.socket] = []
        self.delay = 0.25

    def tearDown(self) -> None:
        super().tearDown()
        for sock in self.sockets:
            sock.close()

    def hole(self) -> TCPAddress:
        """An address that answers nothing: a listener whose queue is full."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        self.sockets.append(listener)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            self.sockets.append(filler)
        return TCPAddress("127.0.0.1", listener.getsockname()[1])

    def closed(self) -> TCPAddress:
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        self.sockets.append(bound)
        return TCPAddress("127.0.0.1", bound.getsockname()[1])

    async def good(self) -> TCPAddress:
        port = await ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0)).listen(
            cast(Any, Factory.forProtocol(Protocol))
        )
        self.ports.append(port)
        return TCPAddress("127.0.0.1", cast(Any, port.getHost()).port)

    def race(self, addresses: Sequence[TCPAddress]) -> Deferred[socket.socket]:
        return first_of(reactor, [partial(connect, reactor, address) for address in addresses], self.delay)

    async def winner(self, *addresses: TCPAddress) -> TCPAddress:
        sock = await self.race(addresses)
        self.sockets.append(sock)
        return TCPAddress(*sock.getpeername())

    async def test_what_refuses_is_passed_over(self) -> None:
        self.delay = 60.0
        good = await self.good()
        self.assertEqual(await self.winner(self.closed(), self.closed(), good, self.hole()), good)

    async def test_what_does_not_answer_is_not_waited_for(self) -> None:
        self.delay = 0.01
        good = await self.good()
        self.assertEqual(await self.winner(self.hole(), self.hole(), good), good)

    async def test_when_all_refuse(self) -> None:
        last = self.closed()
        race = self.race([self.closed(), last])
        problem = await self.assertFailure(race, ConnectionRefused)
        self.assertIn(str(last), str(problem))

    async def test_giving_up_leaves_nothing(self) -> None:
        self.delay = 0.01
        race = self.race([self.hole(), self.hole(), self.hole()])
        waiting: Deferred[None] = Deferred()
        reactor.callLater(0.03, waiting.callback, None)
        await waiting
        race.addErrback(lambda _: None)
        race.cancel()  # trial complains of timers and sockets that are left
