"""`write_soon` sends at the end of the reactor iteration, in order, and before the connection ends."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from superedge.config.addresses import Address
from superedge.reactor.iterations import ReactorIteration
from tests.net.test_endpoints import BIG, Collector, EndpointCase, reactor
from tests.producers import Producer


class IterationTests(EndpointCase):
    async def both_ends(self, secure: bool) -> tuple[Any, Any]:
        ca = self.authority("tls" if secure else "plain")
        tls = self.server_tls(ca, wanted="none") if secure else None
        address: Address = await self.listen(Collector, tls)
        client = await self.dial(address, self.client_tls(ca) if secure else None)
        while not (self.accepted and self.accepted[0].transport):
            await self.turn()
        return client, self.accepted[0]

    async def test_order_is_kept_and_all_arrives_before_the_end(self) -> None:
        for secure in (False, True):
            client, server = await self.both_ends(secure)
            client.transport.write_soon(b"one ")
            client.transport.write_soon(b"two ")
            client.transport.write(b"three ")
            client.transport.write_soon(BIG)
            client.transport.write_soon(b" four")
            client.transport.loseConnection()
            self.assertEqual(await server.ended, b"one two three " + BIG + b" four")
            await client.lost

    async def test_nothing_is_sent_before_the_iteration_ends(self) -> None:
        client, server = await self.both_ends(False)
        client.transport.write_soon(b"one")
        self.assertEqual(client.transport.unsent(), 3)
        await self.turn()
        self.assertEqual(client.transport.unsent(), 0)
        client.transport.write_soon(b"two")
        client.transport.loseWriteConnection()
        self.assertEqual(await server.ended, b"onetwo")
        server.transport.write(b"and the other half goes on")
        server.transport.loseConnection()
        self.assertEqual(await client.ended, b"and the other half goes on")
        client.transport.loseConnection()
        await client.lost

    def test_one_that_fails_takes_nobody_along(self) -> None:
        clock, over = Clock(), []

        class Broken:
            def iteration_ended(self) -> None:
                raise ValueError("broken")

        class Whole:
            def iteration_ended(self) -> None:
                over.append(self)

        for each in (Broken(), Whole()):
            ReactorIteration.of(clock).add(each)
        clock.advance(0)
        self.assertEqual(len(over), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_when_no_other_has_anything_to_send_it_leaves_at_once(self) -> None:
        client, server = await self.both_ends(False)
        iteration = ReactorIteration.of(reactor)
        client.transport.write_soon(b"one")
        iteration.single_event = True
        client.transport.write_soon(b"two")
        self.assertEqual(client.transport.unsent(), 6, "behind what waits")
        await self.turn()
        client.transport.write_soon(b"three")
        self.assertEqual(client.transport.unsent(), 0)
        iteration.single_event = False
        client.transport.loseConnection()
        self.assertEqual(await server.ended, b"onetwothree")
        await client.lost

    async def test_a_connection_that_is_dropped_in_the_iteration_sends_nothing(self) -> None:
        client, server = await self.both_ends(False)
        client.transport.write_soon(b"never")
        client.transport.abortConnection()
        await client.lost
        await server.lost
        self.assertEqual(server.chunks, [])

    async def test_a_producer_is_paused_and_resumed(self) -> None:
        client, server = await self.both_ends(False)
        producer = Producer()
        client.transport.bufferSize = 1000
        client.transport.registerProducer(producer, True)
        client.transport.write_soon(b"x" * 2000)
        self.assertEqual(producer.calls, ["pause"])
        await self.turn()
        self.assertEqual(producer.calls, ["pause", "resume"])
        client.transport.unregisterProducer()
        client.transport.loseConnection()
        self.assertEqual(await server.ended, b"x" * 2000)
        await client.lost
