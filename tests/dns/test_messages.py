"""DNS messages: what is read, and what fits."""

from __future__ import annotations

import dnslib
from dnslib import EDNS0, RR, TXT, DNSHeader, DNSQuestion, DNSRecord
from twisted.trial.unittest import SynchronousTestCase

from superedge.dns.messages import answers, pack, parse_query, question_section, udp_size
from superedge.dns.wire import MAX_UDP, PLAIN_UDP


def asking(size: int | None) -> DNSRecord:
    """A question of a client that says how much it takes over UDP, or does not say."""
    query = DNSRecord.question("edge-1")
    if size is not None:
        query.add_ar(RR("other", 16, rdata=TXT("x"), rclass=9000))  # says nothing of sizes
        query.add_ar(EDNS0(udp_len=size))
    return query


class SizeTests(SynchronousTestCase):
    def test_what_a_client_takes_over_udp(self) -> None:
        for said, size in (
            (None, PLAIN_UDP),
            (0, PLAIN_UDP),
            (511, PLAIN_UDP),
            (700, 700),
            (1232, MAX_UDP),
            (4096, MAX_UDP),
        ):
            self.assertEqual(udp_size(asking(said)), size, said)

    def test_what_fits_is_whole_and_what_does_not_is_cut(self) -> None:
        answer = DNSRecord.question("edge-1").reply()
        answer.add_answer(RR("edge-1", 16, rdata=TXT(["x" * 200, "y" * 200])))
        whole = answer.pack()
        for limit in (None, len(whole)):
            self.assertEqual(pack(answer, limit), whole)
        cut = DNSRecord.parse(pack(answer, len(whole) - 1))
        self.assertEqual((cut.header.tc, cut.rr, str(cut.q.qname)), (1, [], "edge-1."))


class QueryTests(SynchronousTestCase):
    def test_other_than_one_question(self) -> None:
        two = DNSRecord(DNSHeader(), questions=[DNSQuestion("edge-1"), DNSQuestion("edge-2")])
        for query in (two, DNSRecord(DNSHeader())):
            self.assertRaises(ValueError, parse_query, query.pack())

    def test_the_longest_name(self) -> None:
        longest = ".".join(["x" * 63] * 3 + ["y" * 61])
        for name, fits in ((longest, True), (longest + "y", False)):
            packed = bytes(12)[:4] + b"\0\1" + bytes(6)
            packed += b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
            packed += b"\0\0\1\0\1"
            if fits:
                query = parse_query(packed)
                assert query is not None
                self.assertEqual(str(query.q.qname), f"{name}.")
            else:
                self.assertRaises(ValueError, parse_query, packed)

    def test_a_header_alone_and_less(self) -> None:
        header = DNSRecord(DNSHeader(id=7)).pack()
        self.assertEqual(len(header), 12)
        self.assertRaises(ValueError, parse_query, header)
        self.assertIsNone(parse_query(header[:-1]))
        self.assertIsNone(
            parse_query(DNSRecord.question("edge-1").reply().pack()), "an answer is no question"
        )

    def test_an_answer_says_what_it_answers(self) -> None:
        query = DNSRecord.question("edge-1", "A")
        section = question_section(bytes(query.pack())[2:])
        good = query.reply().pack()
        self.assertTrue(answers(good, section))
        for other in (
            b"",
            query.pack(),
            good[:12],
            good[:-1] + bytes([dnslib.CLASS.CH]),
            good.replace(b"edge-1", b"Edge-1"),
            good.replace(b"edge-1", b"edge-2"),
            good[:5] + b"\2" + good[6:],
        ):
            self.assertFalse(answers(other, section), other)

    def test_the_question_section(self) -> None:
        query = DNSRecord.question("edge-1.example", "A")
        query.add_ar(EDNS0(udp_len=1232))
        packed = bytes(query.pack())
        self.assertEqual(question_section(packed[2:]), b"\x06edge-1\x07example\0\0\1\0\1")
        self.assertRaises(ValueError, question_section, packed[2:16])
