from __future__ import annotations

import struct
import tracemalloc
from typing import Any, cast

import dnslib
from dnslib import EDNS0, RR, TXT, DNSHeader, DNSRecord, EDNSOption
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from superedge.config.addresses import TCPAddress
from superedge.config.dns import TunnelDNSConfig
from superedge.dns import forward, transports
from superedge.dns.messages import answers
from superedge.dns.server import MAX_KNOWN, DNSServer
from superedge.dns.transports import IDLE, Questions, Streams
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint
from tests.dns.corpus import CORPUS, GOOD
from tests.dns.directory import StaticDirectory
from tests.dns.upstream import listen_on_both

reactor = cast(IReactor, _reactor)


class Upstream(DatagramProtocol):
    """Answers with a TXT of its name; ``big`` names are cut over UDP; a silent one says nothing."""

    def __init__(self, name: str, code: int = 0, silent: bool = False) -> None:
        self.name, self.code, self.silent = name, code, silent
        self.asked: list[DNSRecord] = []
        self.names: list[str] = []
        self.sources: set[int] = set()

    def make(self, data: bytes, size: int) -> bytes:
        query = DNSRecord.parse(data)
        self.asked.append(query)
        answer = query.reply()
        answer.header.rcode = self.code
        text = (
            [self.name] if size < 512 else [self.name, "x" * 250, "y" * 250, "z" * 250, "v" * 250, "w" * 250]
        )
        answer.add_answer(RR(query.q.qname, 16, ttl=5, rdata=TXT(text)))
        packed: bytes = answer.pack()
        return packed

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.sources.add(addr[1])
        self.names.append(str(DNSRecord.parse(datagram).q.qname))
        if self.silent:
            return
        transport: Any = self.transport
        forged = b"\xff\xff" + self.make(datagram, 0)[2:]
        self.asked.pop()
        transport.write(forged, addr)
        if b"big" in datagram:
            cut = DNSRecord(DNSHeader(id=struct.unpack(">H", datagram[:2])[0], qr=1, tc=1))
            cut.add_question(DNSRecord.parse(datagram).q)
            transport.write(cut.pack(), addr)
        else:
            transport.write(self.make(datagram, 0), addr)


class UpstreamStream(Protocol):
    upstream: Upstream

    def dataReceived(self, data: bytes) -> None:
        packed = self.upstream.make(data[2:], 2000)
        cast(Any, self.transport).write(len(packed).to_bytes(2, "big") + packed)


class Client(DatagramProtocol):
    def __init__(self, port: int, data: bytes, host: str = "127.0.0.1") -> None:
        self.port, self.data, self.host = port, data, host
        self.done: Deferred[bytes] = Deferred()

    def startProtocol(self) -> None:
        cast(Any, self.transport).write(self.data, (self.host, self.port))

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.done.callback(datagram)


class StreamClient(Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.answers: list[DNSRecord] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        while len(self.received) >= 2:
            size = int.from_bytes(self.received[:2], "big")
            if len(self.received) < size + 2:
                break
            self.answers.append(DNSRecord.parse(self.received[2 : size + 2]))
            self.received = self.received[size + 2 :]


class ServerTests(TestCase):
    timeout = 20

    async def setUp(self) -> None:  # type: ignore[override]
        self.ports: list[Any] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        for port in self.ports:
            await cast(Any, port.stopListening() or deferLater(reactor, 0))
        await deferLater(reactor, 0.02)

    async def upstream(self, upstream: Upstream) -> str:
        factory = Factory()
        factory.noisy = False
        factory.protocol = type("Bound", (UpstreamStream,), {"upstream": upstream})
        tcp, udp = await listen_on_both(factory, upstream)
        self.ports += [tcp, udp]
        return f"127.0.0.1:{tcp.getHost().port}"

    def serve(self, *upstreams: str, **options: Any) -> int:
        options = {"listen": ["127.0.0.1:0"], **options}
        config = TunnelDNSConfig(upstreams=list(upstreams), timeout=0.3, **options)
        self.directory = StaticDirectory(["192.0.2.10"], "edge-1")
        server = DNSServer(reactor, config, self.directory, "cluster.local")
        server.startService()
        self.addCleanup(server.stopService)
        return int(server.addresses[0].port)

    async def raw(self, port: int, data: bytes) -> bytes:
        client = Client(port, data)
        self.ports.append(reactor.listenUDP(0, client, "127.0.0.1", 65535))
        return await client.done

    async def ask(self, port: int, name: str, kind: str = "TXT") -> DNSRecord:
        query: bytes = DNSRecord.question(name, kind).pack()
        data = await self.raw(port, query)
        self.assertEqual(data[:2], query[:2])
        return DNSRecord.parse(data)

    async def test_zones_that_no_node_is_in(self) -> None:
        port = self.serve(upstream_zones=["corp.example"])
        names = ("kubernetes.default.svc.cluster.local", "db.corp.example", "edge-1.elsewhere.example")
        self.directory.connected.update(dict.fromkeys(names, ["192.0.2.10"]))
        answers = [(await self.ask(port, name, "A")).header.rcode for name in names]
        self.assertEqual(answers, [dnslib.RCODE.REFUSED, dnslib.RCODE.REFUSED, dnslib.RCODE.NOERROR])

    async def stream(self, port: int) -> StreamClient:
        factory = Factory.forProtocol(StreamClient)
        endpoint = ClientEndpoint(reactor, TCPAddress("127.0.0.1", port))
        client = cast(StreamClient, await endpoint.connect(cast(Any, factory)))
        self.addCleanup(cast(Any, client.transport).abortConnection)
        return client

    async def test_nodes_and_others(self) -> None:
        port = self.serve(await self.upstream(Upstream("first")))
        answer = await self.ask(port, "edge-1", "A")
        self.assertEqual(str(answer.rr[0].rdata), "192.0.2.10")
        answer = await self.ask(port, "kubernetes.default.svc.cluster.local")
        self.assertEqual(str(answer.rr[0].rdata), '"first"')

    async def test_the_next_server_when_one_is_silent_or_fails(self) -> None:
        silent, failing = Upstream("silent", silent=True), Upstream("failing", code=dnslib.RCODE.SERVFAIL)
        good = Upstream("good")
        port = self.serve(*[await self.upstream(each) for each in (silent, failing, good)])
        for _ in range(3):
            answer = await self.ask(port, "example.org")
            self.assertEqual(str(answer.rr[0].rdata), '"good"')
        self.assertEqual(silent.names, ["example.org."], "asked last from then on")
        self.assertEqual(len(failing.asked), 3, "who answers is asked in turn")

    async def test_nobody_waits_again_for_a_server_before_it_answers_a_probe(self) -> None:
        self.patch(forward, "PROBE_INTERVAL", 0.02)
        first, second = Upstream("first", silent=True), Upstream("second")
        port = self.serve(await self.upstream(first), await self.upstream(second))
        for probes in (0, 1, 2):
            while first.names.count(".") < probes:
                await deferLater(reactor, 0.01)
            self.assertEqual(str((await self.ask(port, "example.org")).rr[0].rdata), '"second"')
        self.assertEqual(first.names.count("example.org."), 1)
        first.silent = False
        while str((await self.ask(port, "example.org")).rr[0].rdata) != '"first"':
            await deferLater(reactor, 0.01)
        before = first.names.count(".")
        await deferLater(reactor, 0.1)
        self.assertEqual(first.names.count("."), before, "it is well: it is asked no more")

    async def test_a_server_that_answers_the_last_hope_is_well(self) -> None:
        self.patch(forward, "PROBE_INTERVAL", 60.0)
        only = Upstream("only", silent=True)
        port = self.serve(await self.upstream(only))
        self.assertEqual((await self.ask(port, "example.org")).header.rcode, dnslib.RCODE.SERVFAIL)
        only.silent = False
        self.assertEqual(str((await self.ask(port, "example.org")).rr[0].rdata), '"only"')
        self.assertEqual(only.names, ["example.org."] * 2, "no probe was needed")

    async def test_no_server_answers(self) -> None:
        port = self.serve(await self.upstream(Upstream("silent", silent=True)), "127.0.0.1:1")
        self.assertEqual((await self.ask(port, "example.org")).header.rcode, dnslib.RCODE.SERVFAIL)
        port = self.serve()
        self.assertEqual((await self.ask(port, "example.org")).header.rcode, dnslib.RCODE.REFUSED)

    async def test_no_socket_for_a_question(self) -> None:
        """The process may open no more, or the kernel has no IPv6."""
        port = self.serve("127.0.0.1:1")
        query = DNSRecord.question("example.org").pack()

        def refuse(server: TCPAddress) -> Any:
            raise OSError(24, "Too many open files")

        self.patch(forward, "_connected", refuse)
        answer = await self.raw(port, query)
        self.assertEqual(answer[3] & 0x0F, dnslib.RCODE.SERVFAIL)

    async def test_questions_upstream_are_hard_to_guess(self) -> None:
        upstream = Upstream("first")
        port = self.serve(await self.upstream(upstream))
        await gatherResults([Deferred.fromCoroutine(self.ask(port, f"{n}.example.org")) for n in range(20)])
        self.assertGreater(len(upstream.sources), 15)
        self.assertGreater(len({query.header.id for query in upstream.asked}), 15)

    async def test_large_answers(self) -> None:
        port = self.serve(await self.upstream(Upstream("first")))
        answer = await self.ask(port, "big.example.org")
        self.assertEqual((answer.header.tc, answer.rr), (1, []))
        client = await self.stream(port)
        query = DNSRecord.question("big.example.org", "TXT").pack()
        cast(Any, client.transport).write(len(query).to_bytes(2, "big") + query)
        while not client.answers:
            await deferLater(reactor, 0.01)
        self.assertEqual(len(client.answers[0].rr[0].rdata.data), 6)

    async def test_a_slow_question_holds_up_no_other(self) -> None:
        port = self.serve(await self.upstream(Upstream("silent", silent=True)))
        client = await self.stream(port)
        for name in ("slow.example.org", "edge-1", "edge-1"):
            query = DNSRecord.question(name, "A").pack()
            for byte in len(query).to_bytes(2, "big") + query:
                cast(Any, client.transport).write(bytes([byte]))
        while len(client.answers) < 3:
            await deferLater(reactor, 0.01)
        names = [str(answer.q.qname) for answer in client.answers]
        self.assertEqual(names, ["edge-1.", "edge-1.", "slow.example.org."])

    async def test_ipv6_both_ways(self) -> None:
        upstream = Upstream("six")
        self.ports.append(reactor.listenUDP(0, upstream, "::1", 65535))
        server = f"[::1]:{self.ports[-1].getHost().port}"
        port = self.serve(server, listen=["[::1]:0"])
        for name, kind, answer in (("edge-1", "A", "192.0.2.10"), ("example.org", "TXT", '"six"')):
            client = Client(port, DNSRecord.question(name, kind).pack(), "::1")
            self.ports.append(reactor.listenUDP(0, client, "::1", 65535))
            found = DNSRecord.parse(await client.done)
            self.assertEqual(str(found.rr[0].rdata), answer)

    async def test_who_may_ask(self) -> None:
        port = self.serve(allow=["203.0.113.0/24"])
        client = Client(port, DNSRecord.question("edge-1").pack())
        self.ports.append(reactor.listenUDP(0, client, "127.0.0.1", 65535))
        await deferLater(reactor, 0.1)
        self.assertFalse(client.done.called)

    async def test_what_is_no_question(self) -> None:
        port = self.serve()
        malformed = DNSRecord.question("edge-1").pack()[:-3]
        self.assertEqual(DNSRecord.parse(await self.raw(port, malformed)).header.rcode, dnslib.RCODE.FORMERR)
        notify = DNSRecord(DNSHeader(opcode=4))
        notify.add_question(DNSRecord.question("edge-1").q)
        self.assertEqual(
            DNSRecord.parse(await self.raw(port, notify.pack())).header.rcode, dnslib.RCODE.NOTIMP
        )

    async def test_a_session_that_comes_and_goes_is_known_at_once(self) -> None:
        port = self.serve()
        for _ in range(2):
            self.assertEqual(str((await self.ask(port, "edge-1", "A")).rr[0].rdata), "192.0.2.10")
        self.directory.connected.clear()
        self.directory.changed()
        self.assertEqual((await self.ask(port, "edge-1", "A")).header.rcode, dnslib.RCODE.REFUSED)
        self.directory.connected["edge-1"] = ["192.0.2.11"]
        self.directory.changed()
        self.assertEqual(str((await self.ask(port, "edge-1", "A")).rr[0].rdata), "192.0.2.11")

    async def test_the_same_question_in_other_spellings_and_ways(self) -> None:
        """An answer that is kept is for exactly its question, over UDP or over TCP."""
        port = self.serve()
        self.directory.connected = dict.fromkeys((f"edge-{number}" for number in range(100)), ["192.0.2.10"])
        for _ in range(2):
            for name in ("edge-1", "EDGE-1", "Edge-1"):
                answer = await self.ask(port, name, "A")
                self.assertEqual((str(answer.rr[0].rname), len(answer.rr)), (f"{name}.", 1))
            self.assertEqual((await self.ask(port, "edge-1", "AAAA")).rr, [])
            self.assertEqual((await self.ask(port, "10.2.0.192.in-addr.arpa", "PTR")).header.tc, 1)
            client = await self.stream(port)
            query = DNSRecord.question("10.2.0.192.in-addr.arpa", "PTR").pack()
            cast(Any, client.transport).write(len(query).to_bytes(2, "big") + query)
            while not client.answers:
                await deferLater(reactor, 0.01)
            self.assertEqual(len(client.answers[0].rr), 100)

    async def test_who_does_not_read_is_not_read_from(self) -> None:
        port = self.serve()
        self.directory.connected = dict.fromkeys((f"edge-{number}" for number in range(900)), ["192.0.2.10"])
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

    async def test_many_names_at_one_address(self) -> None:
        port = self.serve()
        names = [f"edge-{number}" for number in range(2000)]
        self.directory.connected = dict.fromkeys(names, ["192.0.2.10"])
        self.directory.changed()
        answer = await self.ask(port, "10.2.0.192.in-addr.arpa", "PTR")
        self.assertEqual((answer.header.tc, answer.rr), (1, []))
        client = await self.stream(port)
        query = DNSRecord.question("10.2.0.192.in-addr.arpa", "PTR").pack()
        cast(Any, client.transport).write(len(query).to_bytes(2, "big") + query)
        while not client.answers:
            await deferLater(reactor, 0.01)
        self.assertEqual(len(client.answers[0].rr), 1000)


def answered_queries(outcome: str) -> float:
    return REGISTRY.get_sample_value("superedge_dns_queries_total", {"outcome": outcome}) or 0.0


# Names that lead to themselves, to each other, ahead, or to nowhere; lengths that are no lengths.
LOOPS = (
    b"\xc0\x0c",
    b"\xc0\x0e\xc0\x0c",
    b"\x01a\xc0\x0c",
    b"\xc0\xff",
    b"\xff\xff",
    b"\x40abc\x00",
    b"\x80abc\x00",
    b"\x3f" + b"a" * 63 + b"\xc0\x0c",
    (b"\x3f" + b"a" * 63) * 5 + b"\x00",
    b"\x01",
    b"",
)


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
        self.patch(transports, "MAX_STREAMS", 2)
        factory: Any = Streams(self.server, reactor)
        peer = IPv4Address("TCP", "127.0.0.1", 1)
        second = factory.buildProtocol(peer)
        second.makeConnection(StringTransport())
        self.assertIsNone(factory.buildProtocol(peer))
        second.connectionLost()
        self.assertIsNotNone(third := factory.buildProtocol(peer))
        third._idle.cancel()


class GarbageTests(SynchronousTestCase):
    @settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
    @given(st.binary(max_size=80), st.booleans())
    def test_any_bytes(self, data: bytes, stream: bool) -> None:
        config = TunnelDNSConfig()
        server = DNSServer(reactor, config, StaticDirectory(["192.0.2.10"], "edge-1"))
        question = DNSRecord.question("edge-1").pack()
        for packet in (data, question[:12] + data, question + data, data[:2] + question[2:]):
            self.successResultOf(Deferred.fromCoroutine(server.respond(bytes(packet), stream)))

    def setUp(self) -> None:
        config = TunnelDNSConfig(suffixes=[".nodes"])
        self.server = DNSServer(reactor, config, StaticDirectory(["192.0.2.10"], "edge-1"))

    def respond(self, packet: bytes, stream: bool) -> bytes | None:
        return self.successResultOf(Deferred.fromCoroutine(self.server.respond(packet, stream)))

    def test_the_corpus(self) -> None:
        for packet in CORPUS:
            for stream in (False, True):
                answer = self.respond(packet.data, stream)
                code = None if answer is None else answer[3] & 0x0F
                self.assertEqual(code, packet.code, packet.what)

    @settings(suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.sampled_from([packet.data for packet in CORPUS if len(packet.data) < 1000]),
        st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=3)), max_size=4),
        st.integers(0, 400),
        st.booleans(),
    )
    def test_the_corpus_changed_here_and_there(
        self, data: bytes, changes: list[tuple[int, bytes]], cut: int, stream: bool
    ) -> None:
        for at, new in changes:
            data = data[:at] + new + data[at + len(new) :]
        for packet in (data, data[:-cut]):
            answer = self.respond(packet, stream)
            if answer is not None:
                self.assertEqual((answer[:2], answer[2] & 0x80), (packet[:2], 0x80))

    def test_names_that_point_to_each_other_are_not_followed(self) -> None:
        """Each behind the question points to the one before: following all takes seconds."""
        packet, pointed = bytearray(GOOD), 12
        for _ in range(1200):
            begin = len(packet)
            packet += (0xC000 | pointed).to_bytes(2) + b"\xff\xfe\0\x01\0\0\0\0\0\x01x"
            pointed = begin
        packet[10:12] = (1200).to_bytes(2)
        answer = self.respond(bytes(packet), True)
        assert answer is not None
        self.assertEqual(DNSRecord.parse(answer).header.rcode, 0)

    def test_a_node_s_longest_name(self) -> None:
        node = ".".join(["x" * 63] * 3 + ["y" * 61])
        server = DNSServer(reactor, TunnelDNSConfig(), StaticDirectory(["192.0.2.10"], node))
        for kind, count in (("A", 1), ("AAAA", 0)):
            question = bytes(DNSRecord.question(node, kind).pack())
            answer = self.successResultOf(Deferred.fromCoroutine(server.respond(question, True)))
            assert answer is not None
            self.assertEqual(len(DNSRecord.parse(answer).rr), count)

    def test_many_questions_take_little_memory(self) -> None:
        """Each is about the same node, and padded in another way as far as a packet goes."""
        server = DNSServer(reactor, TunnelDNSConfig(), StaticDirectory(["192.0.2.10"], "edge-1"))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in range(500):
            query = DNSRecord.question("edge-1")
            query.add_ar(EDNS0(udp_len=1232, opts=[EDNSOption(12, number.to_bytes(60_000, "big"))]))
            packet = bytes(query.pack())
            self.successResultOf(Deferred.fromCoroutine(server.respond(packet, True)))
        self.assertLess(tracemalloc.get_traced_memory()[0], 2 * MAX_KNOWN)

    def test_names_that_never_end(self) -> None:
        """In the question, and in the records behind a good one."""
        server = DNSServer(reactor, TunnelDNSConfig(), StaticDirectory(["192.0.2.10"], "edge-1"))
        good = DNSRecord.question("edge-1").pack()
        for name in LOOPS:
            asked = good[:12] + name + b"\x00\x01\x00\x01"
            behind = good[:10] + b"\x00\x01" + good[12:] + name + b"\x00\x29\x04\xd0" + bytes(6)
            for packet in (asked, behind):
                answer = self.successResultOf(Deferred.fromCoroutine(server.respond(bytes(packet), False)))
                assert answer is not None
                self.assertEqual(answer[:2], good[:2])
                self.assertIn(answer[3] & 0x0F, (dnslib.RCODE.FORMERR, dnslib.RCODE.REFUSED, 0))

    def test_answers_to_other_questions(self) -> None:
        query = DNSRecord.question("edge-1")
        other = DNSRecord.question("edge-2").reply()
        other.header.id = query.header.id
        self.assertTrue(answers(query.reply().pack(), query.pack()))
        self.assertFalse(answers(other.pack(), query.pack()))
        self.assertFalse(answers(query.pack(), query.pack()))
        self.assertFalse(answers(b"", query.pack()))
