"""Endpoints with TLS on real loopback sockets."""

from __future__ import annotations

import socket
from datetime import timedelta

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol

from superedge.net.errors import ConnectTimeout, TLSError
from tests.net.test_endpoints import BIG, Collector, Echo, EndpointCase


class TLSTests(EndpointCase):
    async def test_a_peer_that_answers_in_plain_text_and_closes(self) -> None:
        class Plain(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                self.transport.loseConnection()

        address = await self.listen(Plain)
        ca = self.authority()
        for _ in range(20):
            with self.assertRaises(TLSError) as failed:
                await self.dial(address, self.client_tls(ca))
            self.assertIn("does not speak TLS", str(failed.exception))

    async def test_both_names_are_known(self) -> None:
        ca = self.authority()
        address = await self.listen(Echo, self.server_tls(ca))
        pair = ca.issue("system:node:edge-1", ["system:nodes"], directory=self.directory)
        client = await self.dial(address, self.client_tls(ca, pair), "localhost")
        self.assertEqual(client.transport.peer_common_name, "server")
        self.assertEqual(client.transport.alpn, "test/1")
        client.transport.write(BIG)
        while sum(map(len, client.chunks)) < len(BIG):
            await self.turn()
        self.assertEqual(b"".join(client.chunks), BIG)
        server = self.accepted[0].transport
        self.assertEqual(server.peer_common_name, "system:node:edge-1")
        self.assertEqual(server.peer_organizations, {"system:nodes"})
        self.assertEqual(server.server_name, "localhost")
        client.transport.loseConnection()
        await client.lost

    async def test_half_close(self) -> None:
        ca = self.authority()
        address = await self.listen(Collector, self.server_tls(ca, wanted="none"))
        client = await self.dial(address, self.client_tls(ca))
        client.transport.write(BIG)
        client.transport.loseWriteConnection()
        while not self.accepted:
            await self.turn()
        server = self.accepted[0]
        self.assertEqual(await server.ended, BIG)
        server.transport.write(BIG)
        server.transport.loseConnection()
        self.assertEqual(await client.ended, BIG)
        client.transport.loseConnection()
        self.assertIsInstance(await client.lost, ConnectionDone)
        self.assertIsInstance(await server.lost, ConnectionDone)

    async def test_each_end_closes_its_half(self) -> None:
        for client_first in (True, False):
            ca = self.authority()
            address = await self.listen(Collector, self.server_tls(ca, wanted="none"))
            client = await self.dial(address, self.client_tls(ca))
            while not self.accepted:
                await self.turn()
            server = self.accepted[0]
            first, second = (client, server) if client_first else (server, client)
            first.transport.write(b"first")
            first.transport.loseWriteConnection()
            self.assertEqual(await second.ended, b"first")
            second.transport.write(b"second")
            second.transport.loseWriteConnection()
            self.assertEqual(await first.ended, b"second")
            for end in (first, second):
                end.transport.loseConnection()
                self.assertIsInstance(await end.lost, ConnectionDone)

    async def test_both_close_their_half_at_once(self) -> None:
        ca = self.authority()
        address = await self.listen(Collector, self.server_tls(ca, wanted="none"))
        client = await self.dial(address, self.client_tls(ca))
        while not self.accepted:
            await self.turn()
        server = self.accepted[0]
        for end in (client, server):
            end.transport.write(b"last words")
            end.transport.loseWriteConnection()
        for end in (client, server):
            self.assertEqual(await end.ended, b"last words")
            end.transport.loseConnection()
            self.assertIsInstance(await end.lost, ConnectionDone)

    async def test_cut_off_after_the_handshake(self) -> None:
        ca = self.authority()
        address = await self.listen(Collector, self.server_tls(ca, wanted="none"))
        client = await self.dial(address, self.client_tls(ca))
        while not self.accepted:
            await self.turn()
        # What a killed process leaves: the connection ends, and no close_notify came.
        server = self.accepted[0]
        duplicate = socket.fromfd(server.transport.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        duplicate.shutdown(socket.SHUT_RD)
        duplicate.close()
        self.assertIsInstance(await server.lost, ConnectionLost)
        self.assertIsNone(server.transport.failure_text)
        client.transport.abortConnection()
        await client.lost

    async def test_client_of_another_authority_is_refused(self) -> None:
        ca, other = self.authority(), self.authority("other")
        address = await self.listen(Echo, self.server_tls(ca))
        stranger = other.issue("system:node:edge-1", directory=self.directory / "other")
        client = await self.dial(address, self.client_tls(ca, stranger))
        await client.lost
        self.assertEqual(self.accepted, [])
        self.assertIn("certificate not accepted", self.refused[0])
        self.assertIn("alert", client.transport.failure_text)

    async def test_expired_client_is_refused(self) -> None:
        ca = self.authority()
        address = await self.listen(Echo, self.server_tls(ca))
        old = ca.issue("system:node:edge-1", directory=self.directory, lifetime=timedelta(seconds=1))
        client = await self.dial(address, self.client_tls(ca, old))
        await client.lost
        self.assertIn("expired", self.refused[0])

    async def test_missing_client_certificate_is_refused(self) -> None:
        ca = self.authority()
        client = await self.dial(await self.listen(Echo, self.server_tls(ca)), self.client_tls(ca))
        await client.lost
        self.assertEqual(self.accepted, [])
        self.assertEqual(len(self.refused), 1)

    async def test_a_name_that_no_server_can_have(self) -> None:
        ca = self.authority()
        address = await self.listen(Echo, self.server_tls(ca))
        for name in ("a..b", "x" * 64, ".a"):
            problem = await self.assertFailure(
                Deferred.fromCoroutine(self.dial(address, self.client_tls(ca), name)), TLSError
            )
            self.assertIn("is not a server name", str(problem))

    async def test_server_of_another_name_or_authority_is_refused(self) -> None:
        ca, other = self.authority(), self.authority("other")
        address = await self.listen(Echo, self.server_tls(ca, wanted="none"))
        for trusted, name in ((ca, "elsewhere.example"), (other, "localhost")):
            problem = await self.assertFailure(
                Deferred.fromCoroutine(self.dial(address, self.client_tls(trusted), name)), TLSError
            )
            self.assertIn("certificate not accepted", str(problem))

    async def test_garbage_instead_of_tls(self) -> None:
        class Garbage(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        ca = self.authority()
        address = await self.listen(Garbage)
        await self.assertFailure(Deferred.fromCoroutine(self.dial(address, self.client_tls(ca))), TLSError)
        server = await self.listen(Echo, self.server_tls(ca))
        plain = await self.dial(server)
        plain.transport.write(b"GET / HTTP/1.1\r\n\r\n")
        await plain.ended
        plain.transport.loseConnection()
        await plain.lost
        self.assertEqual(len(self.refused), 1)

    async def test_silent_server_times_out(self) -> None:
        ca = self.authority()
        address = await self.listen(Protocol)
        await self.assertFailure(
            Deferred.fromCoroutine(self.dial(address, self.client_tls(ca), timeout=0.05)), ConnectTimeout
        )

    async def test_reload_serves_the_new_certificate(self) -> None:
        ca = self.authority()
        pair = ca.issue("first", dns=["localhost"], directory=self.directory, name="server")
        source = self.server_tls(ca, pair, "none")
        address = await self.listen(Echo, source)
        self.assertFalse(source.reload())
        ca.issue("second", dns=["localhost"], directory=self.directory, name="server")
        self.assertTrue(source.reload())
        client = await self.dial(address, self.client_tls(ca), "localhost")
        self.assertEqual(client.transport.peer_common_name, "second")
        client.transport.loseConnection()
        await client.lost
