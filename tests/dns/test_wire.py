from __future__ import annotations

import contextlib
from typing import Any

from dnslib import EDNS0, DNSBuffer, DNSHeader, DNSLabel, DNSQuestion, DNSRecord
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.dns.packing import Record, packed
from superedge.dns.wire import (
    NXDOMAIN,
    A,
    labels,
    parse_question,
    render,
    text_name,
    udp_limit,
    wire_name,
)
from superedge.interfaces import Answer
from tests.dns.asking import question, read
from tests.dns.corpus import CORPUS

# dnslib reads no other labels.
label = st.text("abcXYZ019-_", min_size=1, max_size=63).map(str.encode)
names = st.lists(label, max_size=8).filter(lambda parts: sum(len(part) + 1 for part in parts) < 255)


def dnslib_reads(data: bytes) -> tuple[Any, ...] | None:
    """What dnslib makes of a question's section."""
    buffer = DNSBuffer(data)
    header = DNSHeader.parse(buffer)
    asked = DNSQuestion.parse(buffer)
    return header.q, header.bitmap, [part.lower() for part in asked.qname.label], asked.qtype, asked.qclass


class ParseTests(SynchronousTestCase):
    @given(names, st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 0x7FFF), st.booleans())
    def test_as_dnslib_reads_it(
        self, parts: list[bytes], kind: int, qclass: int, flags: int, edns: bool
    ) -> None:
        query = DNSRecord(DNSHeader(id=7, bitmap=flags))
        query.add_question(DNSQuestion(DNSLabel(parts), kind, qclass))
        if edns:
            query.add_ar(EDNS0(flags="do", udp_len=1400))
        data = bytes(query.pack())
        found = parse_question(data)
        assert found is not None
        expected = (1, found.flags, labels(found.name), found.kind, found.qclass)
        self.assertEqual(dnslib_reads(data), expected)
        self.assertEqual((found.size, found.dnssec_ok), (1400, True) if edns else (0, False))

    @given(st.binary(max_size=80))
    def test_any_bytes_are_read_or_refused(self, data: bytes) -> None:
        with contextlib.suppress(ValueError):
            parse_question(b"\0\1\1\0\0\1\0\0\0\0\0\0" + data)

    def test_malformed_packets(self) -> None:
        for what, data, code in CORPUS:
            if code is None:
                self.assertIsNone(parse_question(data), what)
            elif code == 1:
                self.assertRaises(ValueError, parse_question, data)

    def test_every_cut_of_a_question_is_refused(self) -> None:
        query = DNSRecord.question("web.default.svc.cluster.local", "AAAA")
        query.add_ar(EDNS0(udp_len=1232))
        data = bytes(query.pack())
        for size in range(12, len(data)):
            self.assertRaises(ValueError, parse_question, data[:size])


class RenderTests(SynchronousTestCase):
    def test_the_spelling_of_the_question_comes_back(self) -> None:
        asked = question("WeB.Example")
        answer = packed(asked, [Record(asked.name, A, 5, b"\1\2\3\4")])
        data = render(asked, answer, None)
        self.assertIn(b"\3WeB\7Example", data)
        self.assertEqual(str(read(asked, answer).rr[0].rname), "WeB.Example.")

    def test_opt_answers_opt(self) -> None:
        for size, expected in ((0, 0), (100, 512), (1232, 1232), (4096, 1232)):
            asked = question("a.example", size=size)
            message = read(asked, Answer(NXDOMAIN))
            self.assertEqual(len(message.ar), 1 if size else 0)
            self.assertEqual(udp_limit(asked), expected or 512)

    def test_what_is_too_long_is_cut(self) -> None:
        asked = question("a.example")
        records = [Record(asked.name, A, 5, bytes([1, 2, 3, n])) for n in range(40)]
        cut = read(asked, packed(asked, records), 512)
        self.assertEqual((cut.header.tc, cut.header.a), (1, 30))
        self.assertEqual([str(rr.rdata) for rr in cut.rr], [f"1.2.3.{n}" for n in range(30)])
        self.assertEqual(len(read(asked, packed(asked, records), 1232).rr), 40)

    def test_over_tcp_as_much_as_a_message_may_have(self) -> None:
        asked = question("a.example", size=1232)
        records = [Record(asked.name, A, 5, n.to_bytes(4, "big")) for n in range(6000)]
        for kept in (4093, 4094):
            message = read(asked, packed(asked, records[:kept]))
            self.assertEqual((message.header.tc, len(message.rr)), (0, kept))
        data = render(asked, packed(asked, records), None)
        message = read(asked, packed(asked, records))
        self.assertEqual((message.header.tc, len(message.rr), len(message.ar)), (1, 4094, 0))
        self.assertLessEqual(len(data) + 2, 65535)

    def test_additional_records_are_left_out_without_a_word(self) -> None:
        asked = question("a.example")
        records = [Record(asked.name, A, 5, bytes([1, 2, 3, n])) for n in range(40)]
        for split, expected in ((10, (0, 10, 0, 20)), (30, (0, 30, 0, 0))):
            message = read(asked, packed(asked, records[:split], (), records[split:]), 512)
            counts = (message.header.tc, message.header.a, message.header.auth, message.header.ar)
            self.assertEqual(counts, expected)
        message = read(asked, packed(asked, records[:20], records[20:]), 512)
        self.assertEqual((message.header.tc, message.header.a, message.header.auth), (1, 20, 10))

    @given(st.lists(st.tuples(names, st.binary(min_size=1, max_size=20)), max_size=5), names)
    def test_names_are_compressed_so_that_dnslib_finds_them(
        self, records: list[tuple[list[bytes], bytes]], asked_parts: list[bytes]
    ) -> None:
        query = DNSRecord(DNSHeader(id=7))
        query.add_question(DNSQuestion(DNSLabel(asked_parts)))
        asked = parse_question(bytes(query.pack()))
        assert asked is not None
        made = [
            Record(b"".join(bytes([len(part)]) + part.lower() for part in parts) + b"\0", 65280, 9, data)
            for parts, data in records
        ]
        message = read(asked, packed(asked, made))
        for rr, (parts, data) in zip(message.rr, records, strict=True):
            owner = [part.lower() for part in rr.rname.label]
            self.assertEqual(owner, [part.lower() for part in parts])
            self.assertEqual(rr.rdata.data, data)


class NameTests(SynchronousTestCase):
    def test_text(self) -> None:
        self.assertEqual(wire_name("Web.Example."), b"\3web\7example\0")
        self.assertEqual(wire_name("."), b"\0")
        self.assertEqual(text_name(b"\3web\0"), "web.")
        for bad in ("a..b", "x" * 64, "é.example", ".".join(["x" * 60] * 5)):
            self.assertRaises(ValueError, wire_name, bad)
