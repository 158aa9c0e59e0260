"""Questions over TCP: how much is read, for how long, and of how many; a UDP socket that fails."""

from __future__ import annotations

import errno
import socket
from typing import Any, cast

from dnslib import DNSRecord
from prometheus_client import REGISTRY
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.config.dns import TunnelDNSConfig
from superedge.dns import transports
from superedge.dns.server import DNSServer
from superedge.dns.transports import IDLE, Datagrams, Questions, Streams
from superedge.testing.ports import free_port
from tests.dns.corpus import CORPUS
from tests.dns.directory import StaticDirectory
from tests.dns.serving import TunnelServing
from tests.dns.upstream import reactor
from tests.netsnapshot.threads import Threads


def answered_queries(outcome: str) -> float:
    return REGISTRY.get_sample_value("superedge_dns_queries_total", {"outcome": outcome}) or 0.0


class PaceTests(SynchronousTestCase):
    """One TCP connection, as its transport sees it."""

    def setUp(self) -> None:
        self.server = DNSServer(reactor, TunnelDNSConfig(), StaticDirectory(["192.0.2.10"], "edge-1"))
        self.asked: list[Deferred[bytes | None]] = []
        self.transport = StringTransport()
        factory: Any = Streams(self.server, reactor)
        self.protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.protocol.makeConnection(self.transport)
        self.addCleanup(self.protocol.connectionLost)
        query = DNSRecord.question("edge-1").pack()
        self.question = len(query).to_bytes(2, "big") + bytes(query)

    def test_it_reads_no_more_than_it_gets_rid_of(self) -> None:
        self.protocol.pauseProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.protocol.dataReceived(self.question * 3)
        self.assertEqual((self.transport.value(), self.transport.producerState), (b"", "paused"))
        self.protocol.resumeProducing()
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(self.transport.value().count(b"\x06edge-1"), 3)

    def test_it_reads_no_more_than_is_being_answered(self) -> None:
        async def respond(data: bytes, stream: bool) -> bytes | None:
            self.asked.append(Deferred())
            return await self.asked[-1]

        self.server.respond = respond  # type: ignore[method-assign]
        self.protocol.dataReceived(self.question * 250)
        self.assertEqual((len(self.asked), self.transport.producerState), (100, "paused"))
        for _ in range(150):
            self.asked.pop(0).callback(b"answer")
        self.assertEqual(self.transport.value().count(b"answer"), 150)
        self.assertEqual((len(self.asked), self.transport.producerState), (100, "paused"))
        self.asked.pop(0).callback(None)
        self.assertEqual(self.transport.producerState, "producing")

    def test_many_bad_questions_at_once(self) -> None:
        bad = b"".join(len(packet.data).to_bytes(2) + packet.data for packet in CORPUS)
        said = sum(packet.code is not None for packet in CORPUS)
        self.protocol.dataReceived(bad * 20 + self.question)
        received, codes = self.transport.value(), []
        while received:
            size = int.from_bytes(received[:2])
            codes.append(received[5] & 0x0F)
            received = received[2 + size :]
        self.assertEqual(len(codes), 20 * said + 1)
        self.assertEqual(codes[-1], 0)

    def test_time_for_a_question(self) -> None:
        """A question that comes byte by byte has no more of it."""
        clock = Clock()
        protocol: Any = Questions(self.server, cast(Any, clock))
        transport, ended = StringTransport(), []
        transport.abortConnection = lambda: ended.append(1)  # type: ignore[method-assign]
        protocol.makeConnection(transport)
        for byte in self.question * 2:
            clock.advance(IDLE / len(self.question) * 0.9)
            protocol.dataReceived(bytes([byte]))
        self.assertFalse(ended)
        for byte in self.question[:-1]:
            clock.advance(IDLE / len(self.question) * 1.1)
            protocol.dataReceived(bytes([byte]))
        self.assertTrue(ended)
        protocol.connectionLost()

    def test_connections_at_once(self) -> None:
        """Who has asked nothing for longest gives way, but not while its question is being answered."""
        self.patch(transports, "MAX_STREAMS", 3)
        factory: Any = Streams(self.server, reactor)

        def connect() -> Any:
            protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
            if protocol is not None:
                protocol.makeConnection(StringTransport())
                self.addCleanup(protocol.connectionLost)
            return protocol

        async def respond(data: bytes, stream: bool) -> bytes | None:
            return await Deferred()

        second, third = connect(), connect()
        second.dataReceived(self.question)
        self.server.respond = respond  # type: ignore[method-assign]
        self.protocol.dataReceived(self.question.replace(b"edge", b"EDGE"))
        fourth = connect()
        ended = [each.transport.disconnected for each in (self.protocol, second, third, fourth)]
        self.assertEqual(ended, [False, False, True, False])
        connect().dataReceived(self.question.replace(b"edge", b"EDGe"))
        self.assertTrue(second.transport.disconnected)
        fourth.dataReceived(self.question.replace(b"edge", b"EdGE"))
        self.assertIsNone(connect())


class DatagramTests(SynchronousTestCase):
    def test_a_socket_that_fails_is_replaced(self) -> None:
        clock = Clock()
        threads: Any = Threads(clock)
        server = DNSServer(reactor, TunnelDNSConfig(), StaticDirectory(["192.0.2.10"], "edge-1"))
        datagrams = Datagrams(threads, TCPAddress("127.0.0.1", free_port()), server)
        datagrams.start()
        self.addCleanup(datagrams.stop)
        address = ("127.0.0.1", datagrams.getHost().port)
        for number in range(2):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(5)
                client.sendto(DNSRecord.question("edge-1").pack(), address)
                self.assertEqual(threads.readers, {datagrams}, number)
                datagrams.doRead()
                self.assertEqual(len(DNSRecord.parse(client.recv(512)).rr), 1)
            datagrams.connectionLost(Failure(OSError(errno.ECONNABORTED, "it was aborted")))
            clock.advance(1.0)
        self.flushLoggedErrors(OSError)


class ReadingTests(TunnelServing):
    async def test_who_does_not_read_is_not_read_from(self) -> None:
        port = self.serve()
        self.nodes.connected = dict.fromkeys((f"edge-{number}" for number in range(900)), ["192.0.2.10"])
        client = await self.stream(port)
        transport = cast(Any, client.transport)
        transport.pauseProducing()
        query = DNSRecord.question("10.2.0.192.in-addr.arpa", "PTR").pack()
        sent, answered = 20_000, answered_queries("node")
        transport.write((len(query).to_bytes(2, "big") + query) * sent)
        before = -1.0
        while before != answered_queries("node"):
            before = answered_queries("node")
            await deferLater(reactor, 0.1)
        self.assertLess(answered_queries("node") - answered, sent / 2)
        transport.abortConnection()
