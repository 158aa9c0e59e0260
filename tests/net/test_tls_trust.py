"""A TLS connection lasts no longer than the trust in its peer's certificate, on either side."""

from __future__ import annotations

import random
import select
import socket
import ssl
from datetime import timedelta
from typing import Any

from twisted.internet.error import ConnectionAborted

from superedge.config.addresses import TCPAddress
from superedge.tls import authority
from superedge.tls.authority import Authority
from superedge.tls.contexts import MAX_GRACE, ClientContextSource, ServerContextSource
from superedge.tls.identity import Identity
from tests.net.test_endpoints import Collector, EndpointCase

SHORT = timedelta(minutes=10)


class TrustCase(EndpointCase):
    def setUp(self) -> None:
        super().setUp()
        self.ca = self.authority()
        self.pair = self.ca.issue("edge-1", directory=self.directory, lifetime=SHORT)
        self.time = self.pair.not_after.timestamp() - 60
        self.server = self.server_source(self.ca)

    def server_source(self, *authorities: Authority) -> ServerContextSource:
        pair = authorities[0].issue("server", dns=["localhost"], directory=self.directory, lifetime=SHORT * 2)
        paths = [each.path for each in authorities]
        return ServerContextSource(pair.certificate, pair.key, paths, "optional", now=lambda: self.time)

    def client_source(self, pair: Identity | None) -> ClientContextSource:
        certificate, key = (None, None) if pair is None else (pair.certificate, pair.key)
        return ClientContextSource([self.ca.path], certificate, key, now=lambda: self.time)

    async def connected(self, client: ClientContextSource, server: Any = None) -> tuple[Any, Any]:
        """The protocols of a connection, client and server."""
        return await self.join(client, await self.listen(Collector, server or self.server))

    async def join(self, client: ClientContextSource, address: Any) -> tuple[Any, Any]:
        before = len(self.accepted)
        dialled = await self.dial(address, client, "localhost")
        while not (len(self.accepted) > before and self.accepted[-1].transport):
            await self.turn()
        return dialled, self.accepted[-1]

    async def assert_ended(self, end: Any, *words: str) -> None:
        problem: Any = await end.lost
        self.assertIsInstance(problem, ConnectionAborted)
        for word in words:
            self.assertIn(word, str(problem))
        self.assertNotIn("aborted", str(problem))

    async def end(self, *ends: Any) -> None:
        for each in ends:
            each.transport.abortConnection()
            await each.lost


class EndTests(TrustCase):
    async def test_a_connection_ends_with_the_client_s_certificate(self) -> None:
        client, server = await self.connected(self.client_source(self.pair))
        for still in (30, 29):
            self.time += still
            self.server.end_expired()
            await self.turn()
            self.assertFalse(server.lost.called)
        self.time += 1
        self.server.end_expired()
        await self.assert_ended(server, "certificate", "expired at")
        await client.lost

    async def test_others_go_on(self) -> None:
        later = self.ca.issue("edge-2", directory=self.directory, lifetime=SHORT + timedelta(seconds=10))
        first = await self.connected(self.client_source(self.pair))
        second = await self.connected(self.client_source(later))
        nameless = await self.connected(self.client_source(None))
        self.time = self.pair.not_after.timestamp()
        self.server.end_expired()
        await self.assert_ended(first[1])
        self.assertFalse(second[1].lost.called)
        self.time = later.not_after.timestamp()  # whole seconds: not always 10 after the other one
        self.server.end_expired()
        await self.assert_ended(second[1])
        self.assertFalse(nameless[1].lost.called)
        await self.end(*nameless)

    async def test_a_client_ends_a_connection_with_the_server_s_certificate(self) -> None:
        """Not all clients of a server in the same moment."""
        self.patch(random, "uniform", lambda low, high: low + (high - low) / 2)
        source = self.client_source(None)
        client, server = await self.connected(source)
        expires = ssl.cert_time_to_seconds(client.transport.peer_certificate["notAfter"])
        for late, ended in ((-1, False), (MAX_GRACE / 2 - 1, False), (MAX_GRACE / 2, True)):
            self.time = expires + late
            source.end_expired()
            await self.turn()
            self.assertEqual(client.lost.called, ended, late)
        await self.assert_ended(client, "expired at")
        await server.lost

    async def test_other_protocols_of_the_same_source(self) -> None:
        source = self.client_source(None)
        client, server = await self.connected(source.offering("test/1"))  # type: ignore[arg-type]
        self.time += 10 * SHORT.total_seconds()
        source.end_expired()
        await self.assert_ended(client)
        await server.lost


class AuthorityTests(TrustCase):
    def replace_file(self, authority: Authority, *others: Authority) -> None:
        """Make the server's file of CAs hold these."""
        text = b"".join(each.path.read_bytes() for each in (authority, *others))
        self.bundle.with_suffix(".new").write_bytes(text)
        self.bundle.with_suffix(".new").replace(self.bundle)

    async def both_connected(self) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """A client of either of two CAs."""
        other = self.other = self.authority("other")
        self.bundle = self.directory / "bundle.crt"
        self.replace_file(self.ca, other)
        pair = self.ca.issue("server", dns=["localhost"], directory=self.directory)
        self.server = ServerContextSource(
            pair.certificate, pair.key, [self.bundle], "required", now=lambda: self.time
        )
        theirs = other.issue("edge-2", directory=self.directory)
        self.address = await self.listen(Collector, self.server)
        return (
            await self.join(self.client_source(self.pair), self.address),
            await self.join(self.client_source(theirs), self.address),
        )

    async def test_connections_of_a_ca_that_is_taken_away_end(self) -> None:
        ours, theirs = await self.both_connected()
        self.replace_file(self.ca)
        self.assertTrue(self.server.reload())
        await self.assert_ended(theirs[1], "CA", "no longer trusted")
        self.assertFalse(ours[1].lost.called)
        await self.end(*ours)

    async def test_those_that_stay_end_in_their_time(self) -> None:
        first, theirs = await self.both_connected()
        later = self.ca.issue("edge-3", directory=self.directory, lifetime=SHORT + timedelta(seconds=10))
        second = await self.join(self.client_source(later), self.address)
        self.replace_file(self.ca)
        self.server.reload()
        await self.assert_ended(theirs[1])
        for connection in (first, second):
            self.assertFalse(connection[1].lost.called)
            self.time = ssl.cert_time_to_seconds(connection[1].transport.peer_certificate["notAfter"])
            self.server.end_expired()
            await self.assert_ended(connection[1], "expired at")

    async def test_another_ca_of_the_same_name_is_another(self) -> None:
        """As clusters call theirs, before and after a change of it."""
        ours, theirs = await self.both_connected()
        self.replace_file(self.ca, self.authority("successor"))
        self.server.reload()
        await self.assert_ended(theirs[1])
        await self.end(*ours)

    async def test_a_client_leaves_a_server_whose_ca_is_taken_away(self) -> None:
        self.bundle = self.directory / "bundle.crt"
        self.replace_file(self.ca)
        source = ClientContextSource([self.bundle])
        client, server = await self.connected(source)
        self.replace_file(self.authority("other"))
        source.reload()
        await self.assert_ended(client, "CA")
        await server.lost

    async def test_a_ca_that_is_taken_away_in_the_middle_of_a_handshake(self) -> None:
        await self.both_connected()
        for each in list(self.accepted):
            await self.end(each)
        admit = self.server.admit

        def late(connection: Any) -> str:
            self.replace_file(self.ca)
            self.server.reload()
            return admit(connection)

        self.patch(self.server, "admit", late)
        theirs = self.other.issue("edge-2", directory=self.directory)
        client = await self.dial(
            await self.listen(Collector, self.server), self.client_source(theirs), "localhost"
        )
        await client.lost
        self.assertIn("no longer trusted", self.refused[0])

    async def test_a_ca_that_expires_before_what_it_signed(self) -> None:
        self.patch(authority, "LIFETIME", timedelta(minutes=1))  # a CA's is ten times as long
        self.ca = self.authority("short")
        self.server = self.server_source(self.ca)
        self.time = self.ca._certificate.not_valid_after_utc.timestamp() - 1
        pair = self.ca.issue("edge-3", directory=self.directory, lifetime=3 * SHORT)
        client, server = await self.connected(self.client_source(pair))
        self.server.end_expired()
        await self.turn()
        self.assertFalse(server.lost.called)
        self.time += 1
        self.server.end_expired()
        await self.assert_ended(server, "expired at")
        await client.lost


class ResumptionTests(TrustCase):
    """OpenSSL looks at a certificate in a full handshake alone."""

    context: ssl.SSLContext

    async def resume(
        self, address: TCPAddress, version: ssl.TLSVersion, session: Any = None
    ) -> tuple[ssl.SSLObject, bool]:
        """Connect with what an earlier connection was given; the engine, and whether data came back."""
        context = self.client_source(self.pair).current() if session is None else self.context
        self.context = context
        context.maximum_version = version
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost", session=session)
        with socket.create_connection((address.host, address.port)) as sock:
            sock.setblocking(False)
            answered = await self.step(sock, tls.do_handshake, incoming, outgoing)
            if answered is not None:
                tls.write(b"x")
                answered = await self.step(sock, lambda: tls.read(1), incoming, outgoing)
            if answered:
                with self.assertRaises(ssl.SSLWantReadError):
                    tls.unwrap()
                sock.send(outgoing.read())
        return tls, bool(answered)

    async def step(self, sock: socket.socket, action: Any, incoming: Any, outgoing: Any) -> Any:
        while True:
            try:
                result = action()
                sock.send(outgoing.read())
                return result or True
            except ssl.SSLWantReadError:
                sock.send(outgoing.read())
            while not select.select([sock], [], [], 0)[0]:
                await self.turn()
            try:
                data = sock.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            incoming.write(data)

    async def echoing(self) -> Any:
        class Echo(Collector):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(data)

        return await self.listen(Echo, self.server)

    async def assert_dies_with_the_certificate(self, version: ssl.TLSVersion) -> None:
        address = await self.echoing()
        first, _ = await self.resume(address, version)
        again, answered = await self.resume(address, version, first.session)
        self.assertEqual((again.session_reused, answered), (True, True), "a good one is resumed")
        self.time += 60
        last, answered = await self.resume(address, version, again.session)
        self.assertEqual((last.session_reused, answered), (True, False))
        self.assertIn("expired at", self.refused[0])
        self.server.end_expired()
        last, answered = await self.resume(address, version, again.session)
        self.assertEqual((last.session_reused, answered), (False, False), "the server knows it no more")
        self.assertIn("expired at", self.refused[1])

    async def test_an_old_session(self) -> None:
        await self.assert_dies_with_the_certificate(ssl.TLSVersion.TLSv1_2)

    async def test_an_old_ticket(self) -> None:
        await self.assert_dies_with_the_certificate(ssl.TLSVersion.TLSv1_3)

    async def test_a_session_is_resumed_by_whom_it_was_verified_for(self) -> None:
        address = await self.echoing()
        first, _ = await self.resume(address, ssl.TLSVersion.TLSv1_3)
        self.server._peers._verified.clear()
        last, answered = await self.resume(address, ssl.TLSVersion.TLSv1_3, first.session)
        self.assertEqual((last.session_reused, answered), (True, False))
        self.assertIn("too old", self.refused[0])

    async def test_files_that_change_when_a_certificate_expires(self) -> None:
        address = await self.echoing()
        await self.resume(address, ssl.TLSVersion.TLSv1_3)
        self.time += 60
        (self.directory / "server.key").write_text("half a ke")
        self.server.end_expired()
        _, answered = await self.resume(address, ssl.TLSVersion.TLSv1_3)
        self.assertFalse(answered)
        self.assertIn("expired at", self.refused[0])

    async def test_what_has_expired_is_forgotten(self) -> None:
        source = self.client_source(None)
        await self.end(*await self.connected(source))
        self.assertEqual(len(source._peers._verified), 1)
        self.time += 3 * SHORT.total_seconds()
        source.end_expired()
        self.assertEqual(len(source._peers._verified), 0)
