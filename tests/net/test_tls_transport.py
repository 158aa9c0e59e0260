"""TLS connections: every byte of both halves arrives, whoever ends first, and each end is told in order."""

from __future__ import annotations

import random
import select
import socket
import ssl
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from superedge.config.addresses import Address
from superedge.net.transport import READ_SIZE
from tests.net.test_endpoints import BIG, Collector, EndpointCase
from tests.producers import Producer


class PausedAtFirst(Collector):
    """Reads nothing before it is told to."""

    def connectionMade(self) -> None:
        self.transport.pauseProducing()


class Limited:
    """A context source whose connections speak TLS 1.2 at most."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def current(self) -> ssl.SSLContext:
        context: ssl.SSLContext = self._source.current()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    def admit(self, connection: Any) -> Any:
        return self._source.admit(connection)


class Narrow:
    """A socket that takes a little at a time, as one does when the system is short of memory."""

    def __init__(self, sock: socket.socket, limit: int = 4000) -> None:
        self._sock, self._limit = sock, limit
        self.asked: list[int] = []
        """The bytes that it was to send, of each call."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def send(self, data: bytes) -> int:
        self.asked.append(len(data))
        return self._sock.send(data[: self._limit])

    def sendmsg(self, buffers: tuple[bytes, ...]) -> int:
        return self.send(b"".join(buffers))


class TLSTransportCase(EndpointCase):
    async def both_ends(self, protocol: type[Protocol] = Collector, old: bool = False) -> tuple[Any, Any]:
        """The protocols of a connection, client and server."""
        ca = self.authority()
        tls: Any = self.client_tls(ca)
        address: Address = await self.listen(protocol, self.server_tls(ca, wanted="none"))
        client = await self.dial(address, Limited(tls) if old else tls)
        while not (self.accepted and self.accepted[0].transport):
            await self.turn()
        return client, self.accepted[0]

    async def both_ends_in_plain(self) -> tuple[Any, Any]:
        """The same without TLS."""
        client = await self.dial(await self.listen(Collector))
        while not (self.accepted and self.accepted[0].transport):
            await self.turn()
        return client, self.accepted[0]

    async def something_waits(self, end: Any) -> None:
        """Returns when the end's socket has bytes that nobody read."""
        while not select.select([end.transport.fileno()], [], [], 0)[0]:
            await self.turn()

    async def assert_both_end_in_order(self, *ends: Any) -> None:
        for end in ends:
            end.transport.loseConnection()
        for end in ends:
            self.assertIsInstance(await end.lost, ConnectionDone)


class HalfCloseTests(TLSTransportCase):
    async def test_what_is_on_its_way_when_we_end_our_half_arrives(self) -> None:
        for old in (False, True):
            client, server = await self.both_ends(old=old)
            client.transport.pauseProducing()
            server.transport.write(BIG)
            server.transport.loseWriteConnection()
            await self.something_waits(client)
            client.transport.write(b"last words")
            client.transport.loseWriteConnection()
            self.assertEqual(await server.ended, b"last words")
            client.transport.resumeProducing()
            self.assertTrue(await client.ended == BIG)
            await self.assert_both_end_in_order(client, server)

    async def test_the_end_waits_behind_a_full_socket(self) -> None:
        client, server = await self.both_ends(PausedAtFirst)
        for _ in range(4):
            client.transport.write(BIG)
        client.transport.loseWriteConnection()
        for _ in range(10):
            await self.turn()
        server.transport.write(b"meanwhile")
        server.transport.loseWriteConnection()
        self.assertEqual(await client.ended, b"meanwhile")
        server.transport.resumeProducing()
        self.assertTrue(await server.ended == BIG * 4)
        await self.assert_both_end_in_order(client, server)

    async def test_closing_sends_everything_first(self) -> None:
        client, server = await self.both_ends(PausedAtFirst)
        for _ in range(4):
            client.transport.write(BIG)
        client.transport.loseConnection()
        for _ in range(10):
            await self.turn()
        server.transport.resumeProducing()
        self.assertTrue(await server.ended == BIG * 4)
        self.assertIsInstance(await client.lost, ConnectionDone)
        await self.assert_both_end_in_order(server)

    async def test_an_end_is_not_told_to_a_protocol_that_paused(self) -> None:
        client, server = await self.both_ends(PausedAtFirst)
        client.transport.write(b"all")
        client.transport.loseWriteConnection()
        await self.something_waits(server)
        for _ in range(5):
            await self.turn()
        self.assertFalse(server.ended.called)
        server.transport.resumeProducing()
        self.assertEqual(await server.ended, b"all")
        await self.assert_both_end_in_order(server, client)

    async def test_small_pieces_into_a_socket_that_takes_little(self) -> None:
        client, server = await self.both_ends()
        client.transport.socket = Narrow(client.transport.socket)
        sent = b""
        for number in range(40):
            piece = random.randbytes(9_000)
            sent += piece
            client.transport.write(piece)
            if number % 3 == 0:
                await self.turn()
        client.transport.loseWriteConnection()
        self.assertTrue(await server.ended == sent)
        await self.assert_both_end_in_order(server, client)

    async def test_what_fits_two_slices_is_one_send_of_which_any_part_may_be_taken(self) -> None:
        piece = random.randbytes(READ_SIZE)
        for limit in (20_000, 70_000, 110_000, 200_000):
            client, server = await self.both_ends()
            client.transport.socket = narrow = Narrow(client.transport.socket, limit)
            for _ in range(3):
                client.transport.write(piece)
                await self.turn()
            client.transport.loseWriteConnection()
            self.assertTrue(await server.ended == piece * 3, f"{limit} bytes at a time")
            self.assertGreater(narrow.asked[0], len(piece))
            await self.assert_both_end_in_order(server, client)

    async def test_what_waits_for_a_peer_that_reads_nothing_is_two_large_pieces_at_most(self) -> None:
        piece = bytes(128 * 1024)
        for connect in (self.both_ends, self.both_ends_in_plain):
            client, server = await connect()
            server.transport.pauseProducing()
            producer = Producer()
            client.transport.registerProducer(producer, True)
            while not producer.paused:
                client.transport.write(piece)
            self.assertLessEqual(client.transport.unsent(), 2 * len(piece))
            client.transport.unregisterProducer()
            for end in (client, server):
                end.transport.abortConnection()
                await end.lost
            self.accepted.clear()

    async def test_pieces_of_any_size_and_pauses_both_ways(self) -> None:
        for seed in range(6):
            chance = random.Random(seed)
            client, server = await self.both_ends()
            ends, sent = (client, server), {id(client): b"", id(server): b""}
            for _ in range(80):
                end = chance.choice(ends)
                piece = chance.randbytes(chance.choice((1, 100, 16383, 16385, 70_000, 300_000)))
                sent[id(end)] += piece
                end.transport.write(piece)
                other = chance.choice(ends)
                chance.choice((other.transport.pauseProducing, other.transport.resumeProducing))()
                if chance.random() < 0.3:
                    await self.turn()
            first, second = chance.sample(ends, 2)
            first.transport.loseWriteConnection()
            if chance.random() < 0.5:
                await self.turn()
            second.transport.loseWriteConnection()
            for end in ends:
                end.transport.resumeProducing()
            self.assertTrue(await client.ended == sent[id(server)], f"seed {seed}")
            self.assertTrue(await server.ended == sent[id(client)], f"seed {seed}")
            await self.assert_both_end_in_order(client, server)


class FailureTests(TLSTransportCase):
    async def test_a_damaged_record_is_no_failed_handshake(self) -> None:
        client, server = await self.both_ends()
        duplicate = socket.fromfd(client.transport.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        duplicate.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        duplicate.close()
        self.assertIsInstance(await server.lost, ConnectionLost)
        self.assertIn("TLS", server.transport.failure_text)
        self.assertNotIn("handshake", server.transport.failure_text)
        self.assertEqual(self.refused, [])
        client.transport.abortConnection()
        await client.lost

    async def test_what_was_aborted_is_reset_although_the_reactor_ends_first(self) -> None:
        for tls in (True, False):
            client, server = await (self.both_ends() if tls else self.both_ends_in_plain())
            client.transport.abortConnection()
            client.transport.connectionLost(Failure(CONNECTION_LOST))  # as the reactor does at its end
            await server.ended
            await self.turn()
            self.assertTrue(server.lost.called, "it is not told of an end in order")
            self.assertIsInstance(await server.lost, ConnectionLost)

    async def test_bytes_before_a_cut_are_delivered(self) -> None:
        client, server = await self.both_ends(PausedAtFirst)
        client.transport.write(b"so far")
        await self.something_waits(server)
        duplicate = socket.fromfd(client.transport.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        duplicate.shutdown(socket.SHUT_WR)
        duplicate.close()
        server.transport.resumeProducing()
        self.assertEqual(await server.ended, b"so far")
        self.assertIsInstance(await server.lost, ConnectionLost)
        client.transport.abortConnection()
        await client.lost

    async def test_what_came_with_the_handshake_waits_for_a_paused_protocol(self) -> None:
        ca = self.authority()
        address: Any = await self.listen(PausedAtFirst, self.server_tls(ca, wanted="none"))
        context = self.client_tls(ca).current()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with socket.create_connection((address.host, address.port)) as sock:
            sock.setblocking(False)
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    sock.send(outgoing.read())
                    await self._read(sock, incoming)
            tls.write(b"early")
            sock.send(outgoing.read())  # Finished and data in one segment
            while not (self.accepted and self.accepted[0].transport):
                await self.turn()
            server = self.accepted[0]
            for _ in range(5):
                await self.turn()
            self.assertEqual(server.chunks, [])
            server.transport.loseWriteConnection()
            server.transport.resumeProducing()
            while not server.chunks:
                await self.turn()
            self.assertEqual(server.chunks, [b"early"])
        await server.lost

    async def _read(self, sock: socket.socket, into: ssl.MemoryBIO) -> None:
        while not select.select([sock], [], [], 0)[0]:
            await self.turn()
        into.write(sock.recv(65536))
