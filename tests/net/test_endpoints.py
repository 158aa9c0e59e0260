"""Endpoints and transports on real loopback sockets."""

from __future__ import annotations

import os
import select
import socket
import stat
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from superedge.config.addresses import Address, TCPAddress, UnixAddress
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.net.errors import ConnectError, ConnectionRefused, ConnectTimeout, ResolveError
from superedge.net.transport import FLUSH_TIMEOUT
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from superedge.tls.identity import Identity
from tests.producers import Producer

reactor = cast(IReactor, _reactor)
BIG = os.urandom(1024) * 4096


@implementer(IHalfCloseableProtocol)
class Collector(Protocol):
    """Keeps what it receives; ``ended`` fires at the peer's FIN, ``lost`` at the end."""

    transport: Any

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.ended: Deferred[bytes] = Deferred()
        self.lost: Deferred[object] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.chunks.append(data)

    def readConnectionLost(self) -> None:
        self.ended.callback(b"".join(self.chunks))

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ended.called:
            self.ended.callback(b"".join(self.chunks))
        self.lost.callback(reason.value)


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Timed:
    """The reactor, but for delayed calls and the time."""

    def __init__(self, clock: Clock) -> None:
        self.callLater, self.seconds = clock.callLater, clock.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class EndpointCase(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.ports: list[IListeningPort] = []
        self.refused: list[str] = []

    def tearDown(self) -> None:
        for port in self.ports:
            port.stopListening()

    def turn(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        reactor.callLater(0, done.callback, None)
        return done

    async def listen(
        self, protocol: type[Protocol], tls: Any = None, address: Address | None = None
    ) -> Address:
        endpoint = ServerEndpoint(
            reactor,
            address or TCPAddress("127.0.0.1", 0),
            tls,
            on_tls_failure=lambda _peer, reason: self.refused.append(reason),
        )
        self.accepted: list[Any] = []

        class Recording(Factory):
            noisy = False

            def buildProtocol(factory, addr: Any) -> Any:
                instance = protocol()
                self.accepted.append(instance)
                return instance

        port = await endpoint.listen(Recording())
        self.ports.append(port)
        return address or TCPAddress("127.0.0.1", cast(Any, port.getHost()).port)

    async def dial(
        self, address: Address, tls: Any = None, name: str | None = None, timeout: float = 60
    ) -> Any:
        endpoint = ClientEndpoint(reactor, address, tls, name, timeout)
        return await endpoint.connect(cast(Any, Factory.forProtocol(Collector)))

    def authority(self, name: str = "ca") -> Authority:
        return Authority.create(self.directory / name)

    def server_tls(self, ca: Authority, identity: Identity | None = None, wanted: Any = "required") -> Any:
        pair = identity or ca.issue("server", dns=["localhost"], ips=["127.0.0.1"], directory=self.directory)
        return ServerContextSource(pair.certificate, pair.key, [ca.path], wanted, ["test/1"])

    def client_tls(self, ca: Authority, pair: Identity | None = None) -> ClientContextSource:
        if pair is None:
            return ClientContextSource([ca.path], alpn=["test/1"])
        return ClientContextSource([ca.path], pair.certificate, pair.key, ["test/1"])


class PlainTests(EndpointCase):
    async def test_echo_and_close(self) -> None:
        client = await self.dial(await self.listen(Echo))
        client.transport.write(BIG)
        while sum(map(len, client.chunks)) < len(BIG):
            await self.turn()
        client.transport.loseConnection()
        reason = await client.lost
        self.assertIsInstance(reason, ConnectionDone)
        self.assertEqual(b"".join(client.chunks), BIG)

    async def test_half_close_delivers_everything_both_ways(self) -> None:
        address = await self.listen(Collector)
        client = await self.dial(address)
        client.transport.write(BIG)
        client.transport.loseWriteConnection()
        while not self.accepted:
            await self.turn()
        server = self.accepted[0]
        self.assertEqual(await server.ended, BIG)
        server.transport.write(BIG[::-1])
        server.transport.loseConnection()
        self.assertEqual(await client.ended, BIG[::-1])
        client.transport.loseConnection()
        await client.lost
        await server.lost

    async def test_closing_with_bytes_unread_sends_everything_first(self) -> None:
        client = await self.dial(await self.listen(Collector))
        while not self.accepted:
            await self.turn()
        server = self.accepted[0]
        client.transport.pauseProducing()
        server.transport.pauseProducing()
        server.transport.write(b"for nobody")
        while not select.select([client.transport.fileno()], [], [], 0)[0]:
            await self.turn()
        client.transport.write(BIG)
        client.transport.loseConnection()
        server.transport.resumeProducing()
        self.assertIsInstance(await client.lost, ConnectionDone)
        self.assertTrue(await server.ended == BIG)
        server.transport.loseConnection()
        await server.lost

    async def closing(self) -> tuple[Any, Any, Clock]:
        """A client that closes with much unsent, a server that reads nothing yet, and the time."""
        address = await self.listen(Collector)
        client = await self.dial(address)
        while not (self.accepted and self.accepted[0].transport):
            await self.turn()
        (server,) = self.accepted
        server.transport.pauseProducing()
        await self.turn()
        clock = Clock()
        client.transport.reactor = Timed(clock)
        client.transport.write(BIG * 8)
        client.transport.loseConnection()
        return client, server, clock

    async def test_a_slow_reader_gets_everything_although_it_takes_long(self) -> None:
        client, server, clock = await self.closing()
        while not client.lost.called:
            unsent = client.transport.unsent()
            server.transport.resumeProducing()
            while client.transport.unsent() == unsent and not client.lost.called:
                await self.turn()
            server.transport.pauseProducing()
            clock.advance(FLUSH_TIMEOUT - 1)
        server.transport.resumeProducing()
        self.assertTrue(await server.ended == BIG * 8)
        self.assertIsInstance(await client.lost, ConnectionDone)

    async def test_a_reader_that_stands_still_is_given_up(self) -> None:
        client, server, clock = await self.closing()
        clock.advance(FLUSH_TIMEOUT - 1)
        self.assertFalse(client.lost.called)
        clock.advance(1)
        clock.advance(0)
        self.assertIsInstance(await client.lost, ConnectionAborted)
        server.transport.resumeProducing()
        await server.lost

    async def test_slow_reader_pauses_the_producer(self) -> None:
        client = await self.dial(await self.listen(Collector))
        while not self.accepted:
            await self.turn()
        self.accepted[0].transport.pauseProducing()
        producer = Producer()
        client.transport.registerProducer(producer, True)
        for _ in range(8):
            client.transport.write(BIG)
        self.assertIn("pause", producer.calls)
        client.transport.abortConnection()
        await client.lost
        self.accepted[0].transport.resumeProducing()
        await self.accepted[0].lost

    async def test_write_to_a_dead_peer_reports_the_loss_later(self) -> None:
        client = await self.dial(await self.listen(Collector))
        while not self.accepted:
            await self.turn()
        client.transport.socket.shutdown(socket.SHUT_RDWR)
        client.transport.write(b"x")
        self.assertFalse(client.lost.called)
        await client.lost
        self.accepted[0].transport.abortConnection()
        await self.accepted[0].lost

    async def test_a_peer_that_takes_nothing_is_given_up_by_the_kernel(self) -> None:
        client = await self.dial(await self.listen(Echo))
        client.transport.give_up_after(20.0)
        milliseconds = client.transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        self.assertEqual(milliseconds, 20_000)
        client.transport.loseConnection()
        await client.lost

    async def test_refused_names_the_address(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = TCPAddress("127.0.0.1", unused.getsockname()[1])
            problem = await self.assertFailure(Deferred.fromCoroutine(self.dial(address)), ConnectionRefused)
        self.assertIn(str(address), str(problem))

    async def test_unknown_name(self) -> None:
        address = TCPAddress("no-such-host.invalid", 1)
        await self.assertFailure(Deferred.fromCoroutine(self.dial(address)), ResolveError, ConnectTimeout)

    async def test_another_way_to_the_address(self) -> None:
        real = await self.listen(Collector)

        class Elsewhere(ClientEndpoint):
            """Gets to where it leads by another door."""

            async def connected_socket(self) -> socket.socket:
                return socket.create_connection((cast(TCPAddress, real).host, cast(TCPAddress, real).port))

        endpoint = Elsewhere(reactor, TCPAddress("edge-9", 10250))
        client: Any = await endpoint.connect(cast(Any, Factory.forProtocol(Collector)))
        client.transport.write(b"hello")
        client.transport.loseConnection()
        await client.lost
        while not self.accepted:
            await self.turn()
        self.assertEqual(await self.accepted[0].ended, b"hello")
        self.accepted[0].transport.loseConnection()
        await self.accepted[0].lost

    async def test_address_in_use(self) -> None:
        address = await self.listen(Echo)
        problem = await self.assertFailure(
            Deferred.fromCoroutine(self.listen(Echo, address=address)), ConnectError
        )
        self.assertIn(f"cannot listen on {address}", str(problem))

    async def test_unix_socket_mode_and_stale_file(self) -> None:
        path = str(self.directory.resolve() / "s")
        if len(path) > 100:
            path = f"/tmp/superedge-test-{os.getpid()}.sock"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        address = await self.listen(Collector, address=UnixAddress(path))
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o660)
        client = await self.dial(address)
        client.transport.write(b"hello")
        client.transport.loseConnection()
        await client.lost
        while not self.accepted:
            await self.turn()
        self.assertEqual(await self.accepted[0].ended, b"hello")
        self.accepted[0].transport.loseConnection()
        await self.accepted[0].lost
        self.ports.pop().stopListening()
        self.assertFalse(os.path.exists(path))
