"""What a TLS peer may send beside data, and that data comes through however it is cut into records."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.net.tlsrecords import RecordCounter
from superedge.net.tlstransport import MAX_EMPTY_RECORDS, MAX_RECORDS, READ_SIZE, SMALL_READ_SIZE
from tests.net.test_endpoints import BIG, Collector, Timed
from tests.net.test_tls_transport import TLSTransportCase
from tests.net.tls13 import DATA, RecordClient


class CountTests(SynchronousTestCase):
    @given(
        st.lists(st.integers(0, 700), max_size=12),
        st.lists(st.integers(1, 300), min_size=1),
        st.integers(1, 3),
    )
    def test_however_the_bytes_are_cut(self, sizes: list[int], cuts: list[int], most: int) -> None:
        stream = b"".join(b"\x17\x03\x03" + size.to_bytes(2) + b"x" * size for size in sizes)
        counter, whole, begin = RecordCounter(), 0, 0
        while begin < len(stream):
            end = min(begin + cuts[0], len(stream))
            cuts = cuts[1:] + cuts[:1]
            chunk, at = memoryview(stream[begin:end]), 0
            while at < len(chunk):
                stop, records = counter.scan(chunk, at, len(chunk), most)
                self.assertLessEqual(records, most)
                self.assertGreater(stop, at)
                if records == most:
                    ends = sum(5 + size for size in sizes[: whole + records])
                    self.assertEqual(begin + stop, ends)
                at, whole = stop, whole + records
            begin = end
        self.assertEqual(whole, len(sizes))


class RecordCase(TLSTransportCase):
    async def connected(self) -> RecordClient:
        """A client whose handshake is over, but for what it still has to send."""
        ca = self.authority()
        directory = Path(self.mktemp())
        directory.mkdir()
        client = RecordClient(self.client_tls(ca).current(), directory, self.turn)
        self.addCleanup(client.socket.close)
        await client.connect(await self.listen(Collector, self.server_tls(ca, wanted="none")))
        return client

    async def server(self) -> Any:
        while not (self.accepted and self.accepted[0].transport):
            await self.turn()
        return self.accepted[0]


class FloodTests(RecordCase):
    async def test_a_flood_of_key_updates_ends_the_connection(self) -> None:
        for answer in (True, False):
            client = await self.connected()
            await client.send(
                b"".join(client.key_update(answer) for _ in range(MAX_EMPTY_RECORDS + 2 * MAX_RECORDS))
            )
            server = await self.server()
            self.assertIsInstance(await server.lost, ConnectionLost)
            self.assertIn("without data", server.transport.failure_text)

    async def test_data_between_them_does_not_help(self) -> None:
        client = await self.connected()
        pair = [client.key_update(True) + client.seal(DATA, b"x") for _ in range(2 * MAX_EMPTY_RECORDS)]
        await client.send(b"".join(pair))
        self.assertIsInstance(await (await self.server()).lost, ConnectionLost)

    async def test_now_and_then_one_is_let_pass(self) -> None:
        client = await self.connected()
        await client.send(client.seal(DATA, b"begin"))
        server = await self.server()
        clock = Clock()
        server.transport.reactor = Timed(clock)
        expected = b"begin"
        for number in range(MAX_EMPTY_RECORDS + 10):
            data = b"%d," % number
            await client.send(client.key_update(number % 2 == 0) + client.seal(DATA, data))
            expected += data
            while b"".join(server.chunks) != expected:
                await self.turn()
            clock.advance(1)
        client.socket.close()
        await server.lost

    async def test_small_records_are_data_like_any_other_and_leave_others_their_turn(self) -> None:
        client = await self.connected()
        count = 20_000
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        await client.send(b"".join(client.seal(DATA, b"%c" % (number & 0xFF)) for number in range(count)))
        server = await self.server()
        while sum(map(len, server.chunks)) < count:
            await self.turn()
        self.assertEqual(b"".join(server.chunks), bytes(number & 0xFF for number in range(count)))
        wire = 5 + 1 + 1 + 16
        later = [len(chunk) * wire for chunk in server.chunks[2:]]
        self.assertLessEqual(max(later), SMALL_READ_SIZE + wire)
        await client.send(client.seal(DATA, BIG[:16000]))
        while sum(map(len, server.chunks)) < count + 16000:
            await self.turn()
        self.assertEqual(len(server.transport._view), READ_SIZE)
        client.socket.close()
        await server.lost

    async def test_a_flood_behind_the_handshake(self) -> None:
        """It comes in one read with the client's last flight."""
        client = await self.connected()
        await client.send(b"".join(client.key_update(True) for _ in range(1000)))
        server = await self.server()
        self.assertIsInstance(await server.lost, ConnectionLost)
