"""Shared connections over real TLS: what the server offers, several servers, changed files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.logger import formatEvent
from twisted.trial.unittest import TestCase

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IReactor
from superedge.net.endpoints import ServerEndpoint
from superedge.net.errors import ConnectError
from superedge.net.servers import Servers
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from superedge.web import h2pool
from superedge.web.channels import UpstreamChannel
from superedge.web.client import H1Connection
from superedge.web.h2client import H2Channel
from superedge.web.h2pool import OFFERED, H2Pool
from superedge.web.heads import OutgoingRequest
from superedge.web.pool import Pool
from tests.events import logged
from tests.web.h2server import BothFactory
from tests.web.test_client import Receiver

reactor = cast(IReactor, _reactor)


class Answer(Receiver):
    """A response; ``over`` fires at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.over: Deferred[None] = Deferred()

    def complete(self, trailers: Any) -> None:
        super().complete(trailers)
        self.over.callback(None)

    def failed(self, reason: str) -> None:
        super().failed(reason)
        self.over.callback(None)


class Mumbler(Protocol):
    """Agrees to HTTP/2 and then speaks something else, or nothing."""

    def __init__(self, says: bytes) -> None:
        self.says = says

    def connectionMade(self) -> None:
        if self.says:
            cast(Any, self.transport).write(self.says)


class H2PoolTests(TestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.directory = directory
        self.authority = Authority.create(directory / "ca", "ca")
        self.pair = self.authority.issue("server", ips=["127.0.0.1"], directory=directory)
        self.issue()
        self.held: list[Any] = []
        self.factories: list[Any] = []
        self.tls = ClientContextSource(
            [self.authority.path], directory / "client.crt", directory / "client.key"
        )

    def issue(self) -> None:
        self.authority.issue("client", directory=self.directory, name="client")

    def handle(self, request: Any) -> None:
        if request.head.target == b"/hold":
            self.held.append(request)
        else:
            request.respond(200, [], b"ok")

    async def serve(self, factory: Any = None, alpn: tuple[str, ...] = OFFERED) -> TCPAddress:
        tls = ServerContextSource(
            self.pair.certificate, self.pair.key, [self.authority.path], "required", alpn
        )
        factory = factory or BothFactory(self.handle)
        self.factories.append(factory)
        endpoint = ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0), tls, lambda *_: None)
        port = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        return TCPAddress("127.0.0.1", cast(Any, port.getHost()).port)

    def pool(self, *servers: TCPAddress) -> H2Pool:
        pool = Pool(reactor, Servers(list(servers), False), self.tls, None, 5.0)
        shared = pool.shared = H2Pool(reactor, pool, self.tls.offering(*OFFERED))

        async def end() -> None:
            pool.abort()
            for factory in self.factories:
                if isinstance(factory, BothFactory):
                    factory.abort()
            await deferLater(reactor, 0.02)

        self.addCleanup(lambda: Deferred.fromCoroutine(end()))
        self.plain = pool
        return shared

    async def channel(self, pool: H2Pool) -> UpstreamChannel:
        idle = pool.take_idle()
        return idle if idle is not None else cast(UpstreamChannel, await pool.connect())

    def begin(self, channel: UpstreamChannel, target: bytes = b"/") -> Answer:
        answer = Answer()
        channel.begin(OutgoingRequest(b"GET", target, b"Host: cloud\r\n", False, False), answer)
        return answer

    async def ask(self, pool: H2Pool, target: bytes = b"/") -> Answer:
        answer = self.begin(await self.channel(pool), target)
        await answer.over
        return answer

    async def hold(self, pool: H2Pool) -> Answer:
        answer, before = self.begin(await self.channel(pool), b"/hold"), len(self.held)
        while len(self.held) == before:
            await deferLater(reactor, 0.005)
        return answer

    async def test_one_connection_for_those_who_ask_at_once(self) -> None:
        pool = self.pool(await self.serve())
        channels = [pool.connect() for _ in range(20)]
        answers = [self.begin(await channel) for channel in channels]
        for answer in answers:
            await answer.over
        self.assertEqual({answer.result[1] for answer in answers}, {b"ok"})
        self.assertEqual(self.factories[0].chosen, ["h2"])

    async def test_another_connection_when_there_is_no_room(self) -> None:
        address = await self.serve()
        self.factories[0].largest = 4
        pool = self.pool(address)
        channels = [pool.connect() for _ in range(10)]
        answers = [self.begin(await channel, b"/hold") for channel in channels]
        while len(self.held) < 10:
            await deferLater(reactor, 0.005)
        self.assertEqual(self.factories[0].chosen, ["h2"] * 3)
        for request in self.held:
            request.respond(200, [], b"ok")
        for answer in answers:
            await answer.over
        await self.ask(pool)
        self.assertEqual(self.factories[0].chosen, ["h2"] * 3)

    async def test_a_server_without(self) -> None:
        for alpn in (("http/1.1",), ()):
            pool = self.pool(await self.serve(alpn=alpn))
            channels = [pool.connect() for _ in range(5)]
            for channel in channels:
                one = await channel
                self.assertIsInstance(one, H1Connection)
                answer = self.begin(one)
                await answer.over
                self.assertEqual(answer.result[1], b"ok")
            await self.ask(pool)
            self.assertEqual(self.factories[-1].chosen.count("h2"), 0)
            self.assertEqual(len(self.factories[-1].chosen), 5)

    async def test_a_server_that_offers_it_and_fails(self) -> None:
        self.patch(h2pool, "SETTINGS_TIMEOUT", 0.05)
        events = logged(self)
        for says in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"):
            good = BothFactory(self.handle)
            good.instead = lambda says=says: Mumbler(says)  # type: ignore[method-assign,misc]
            pool = self.pool(await self.serve(good))
            self.assertEqual((await self.ask(pool)).result[1], b"ok")
            self.assertEqual(good.chosen, ["h2", ""])
        self.assertIn("at it: no SETTINGS within 0.05 s", formatEvent(events[0]))

    async def test_a_server_that_lets_nobody_open_a_stream(self) -> None:
        address = await self.serve()
        self.factories[0].largest = 0
        pool = self.pool(address)
        channel = await self.channel(pool)
        self.assertIsInstance(channel, H1Connection)
        await self.begin(channel).over

    async def test_the_next_server(self) -> None:
        pool = self.pool(TCPAddress("127.0.0.1", 1), await self.serve())
        await self.ask(pool)
        self.assertEqual(self.factories[0].chosen, ["h2"])

    async def test_no_server(self) -> None:
        pool = self.pool(TCPAddress("127.0.0.1", 1))
        first, second = pool.connect(), pool.connect()
        await self.assertFailure(first, ConnectError)
        await self.assertFailure(second, ConnectError)

    async def test_given_up(self) -> None:
        pool = self.pool(await self.serve())
        first, second = pool.connect(), pool.connect()
        first.addErrback(lambda failure: failure.trap(CancelledError) and None)
        first.cancel()
        channel = await second
        await self.begin(channel).over
        third = self.pool(await self.serve()).connect()
        third.addErrback(lambda failure: failure.trap(CancelledError) and None)
        third.cancel()
        self.assertIsNone(await third)

    async def test_changed_files(self) -> None:
        pool = self.pool(await self.serve())
        answer = await self.hold(pool)
        self.issue()
        self.tls.reload()
        self.plain.replace(0.5)
        await self.ask(pool)
        self.assertEqual(self.factories[0].chosen, ["h2", "h2"])
        self.assertEqual(answer.reason, "")
        await answer.over  # the bound
        self.assertEqual(answer.reason, "the connection was lost")
        await self.ask(pool)
        self.assertEqual(self.factories[0].chosen, ["h2", "h2"])

    async def test_files_that_change_while_a_connection_is_made(self) -> None:
        pool = self.pool(await self.serve())
        waiting = pool.connect()
        self.issue()
        self.tls.reload()
        self.plain.replace(0.0)
        await self.begin(await waiting).over
        self.assertEqual(self.factories[0].chosen, ["h2", "h2"])

    async def test_old_connections_close_after_their_streams(self) -> None:
        pool = self.pool(await self.serve())
        answer = await self.hold(pool)
        self.issue()
        self.tls.reload()
        self.plain.replace(0.1)
        self.held[0].respond(200, [], b"late")
        await answer.over
        self.assertEqual(answer.result, ([200], b"late", True, ""))
        while self.factories[0].shared:
            await deferLater(reactor, 0.005)
        await deferLater(reactor, 0.1)  # the bound finds nothing to end

    async def test_idle_ones_are_closed(self) -> None:
        pool = self.pool(await self.serve())
        await self.ask(pool)
        self.plain.close_idle(reactor.seconds() - 1)
        self.assertIsInstance(pool.take_idle(), H2Channel)
        pool = self.pool(await self.serve())
        await self.ask(pool)
        await deferLater(reactor, 0.01)
        self.plain.close_idle(reactor.seconds())
        self.assertIsNone(pool.take_idle())

    async def test_going_offline_leaves_what_is_open_and_uses_it_for_no_more(self) -> None:
        pool = self.pool(await self.serve())
        answer = await self.hold(pool)
        self.plain.close_idle()
        await self.ask(pool)
        self.assertEqual(self.factories[0].chosen, ["h2", "h2"])
        self.held[0].respond(200, [], b"late")
        await answer.over
        self.assertEqual(answer.result[1], b"late")

    async def test_a_goaway_and_a_stream_it_leaves_out(self) -> None:
        pool = self.pool(await self.serve())
        kept = await self.hold(pool)
        (server,) = self.factories[0].shared
        refused = self.begin(await self.channel(pool), b"/hold")
        server.transport.write(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00")
        await refused.over
        self.assertIn("the server closes the connection", refused.reason)
        await self.ask(pool)
        self.assertEqual(self.factories[0].chosen, ["h2", "h2"])
        self.held[0].respond(200, [], b"late")
        await kept.over
        self.assertEqual(kept.result[1], b"late")
