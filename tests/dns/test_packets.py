"""Packets that are no good questions, at the tunnel's server."""

from __future__ import annotations

import tracemalloc

import dnslib
from dnslib import EDNS0, DNSRecord, EDNSOption
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.dns import TunnelDNSConfig
from superedge.dns.server import MAX_KNOWN, DNSServer
from tests.dns.corpus import CORPUS, GOOD
from tests.dns.directory import StaticDirectory
from tests.dns.upstream import reactor

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
