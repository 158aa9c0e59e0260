"""Faults of upstream servers, the same for both of our servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dnslib
from dnslib import CNAME, EDNS0, RR, SOA, A, DNSRecord
from twisted.internet.defer import Deferred, gatherResults

from superedge.dns import forward
from tests.dns.serving import LocalServing, TunnelServing
from tests.dns.upstream import Upstream, reactor, says, silent

cut = says("", cut=True, copies=0)


def shortened(data: bytes) -> Sequence[bytes]:
    return [says("x" * 100)(data)[0][:-50]]


class Faults:
    """Run with each server."""

    serve: Any
    upstream: Any
    ask: Any
    text: Any
    stream: Any
    patch: Any
    assertEqual: Any
    assertLess: Any
    assertGreater: Any
    assertIn: Any

    async def first_of(self, *upstreams: Upstream, **options: Any) -> str:
        return str(await self.text(self.serve(*upstreams, **options), "example.org"))

    async def test_one_is_silent(self) -> None:
        self.patch(forward, "IMPATIENCE", 0.05)
        bad, good = await self.upstream(silent), await self.upstream(says("good"))
        port = self.serve(bad, good, timeout=5.0)
        for name in ("a.example", "b.example"):
            begun = reactor.seconds()
            self.assertEqual(await self.text(port, name), '"good"')
            self.assertLess(reactor.seconds() - begun, 2.0)
        self.assertEqual(bad.names.count("b.example."), 0, "it comes last until it answers")

    async def test_one_does_not_want_to(self) -> None:
        for code in (dnslib.RCODE.SERVFAIL, dnslib.RCODE.REFUSED, dnslib.RCODE.NOTIMP, dnslib.RCODE.FORMERR):
            bad, good = await self.upstream(says("", code)), await self.upstream(says("good"))
            self.assertEqual(await self.first_of(bad, good), '"good"', dnslib.RCODE[code])

    async def test_all_say_servfail_or_nothing(self) -> None:
        bad, worse = await self.upstream(says("", dnslib.RCODE.REFUSED)), await self.upstream(silent)
        self.assertEqual(await self.first_of(bad, worse), "REFUSED")
        self.assertEqual(await self.first_of(worse), "SERVFAIL")

    async def test_one_cuts_and_has_no_tcp(self) -> None:
        bad, good = await self.upstream(cut), await self.upstream(says("good"))
        self.assertEqual(await self.first_of(bad, good), '"good"')
        answer = await self.ask(self.serve(bad), "example.org")
        self.assertEqual((answer.header.tc, answer.header.rcode), (1, 0))

    async def test_one_cuts_and_its_tcp_is_silent(self) -> None:
        port = self.serve(await self.upstream(cut, stream=silent))
        answer = await self.ask(port, "example.org")
        self.assertEqual((answer.header.tc, answer.header.rcode), (1, 0))

    async def test_a_header_alone_is_an_answer_of_a_server_that_does_not_want_to(self) -> None:
        def header(data: bytes) -> Sequence[bytes]:
            return [data[:2] + b"\x81\x81" + bytes(8)]

        bad, good = await self.upstream(header), await self.upstream(says("good"))
        self.patch(forward, "IMPATIENCE", 60.0)
        self.assertEqual(await self.first_of(bad, good, timeout=60.0), '"good"')

    async def test_one_is_slow(self) -> None:
        self.patch(forward, "IMPATIENCE", 0.05)
        slow, good = await self.upstream(says("slow"), delay=2.0), await self.upstream(says("good"))
        port = self.serve(slow, good, timeout=5.0)
        self.assertEqual(await self.text(port, "example.org"), '"good"')

    async def test_the_only_one_is_slow(self) -> None:
        slow = await self.upstream(says("slow"), delay=0.2)
        port = self.serve(slow, timeout=5.0)
        self.assertEqual(await self.text(port, "example.org"), '"slow"')

    async def test_answers_to_something_else(self) -> None:
        def forged(data: bytes) -> Sequence[bytes]:
            other_id = b"\xff\xff" + says("id")(data)[0][2:]
            query = DNSRecord.parse(data)
            query.questions[0].qname = dnslib.DNSLabel("other.example")
            return [other_id, says("question")(bytes(query.pack()))[0], data, b"", says("true")(data)[0]]

        self.assertEqual(await self.first_of(await self.upstream(forged)), '"true"')

    async def test_an_answer_from_another_port(self) -> None:
        upstream = await self.upstream(silent)
        forger = await self.upstream(silent)

        def behave(data: bytes) -> Sequence[bytes]:
            forger.transport.write(says("forged")(data)[0], upstream.sources[-1])
            reactor.callLater(0.05, upstream.transport.write, says("true")(data)[0], upstream.sources[-1])
            return []

        upstream.behave = behave
        self.assertEqual(await self.first_of(upstream), '"true"')

    async def test_it_is_asked_from_many_ports_with_many_ids(self) -> None:
        ids: list[bytes] = []

        def behave(data: bytes) -> Sequence[bytes]:
            ids.append(data[:2])
            return says("one")(data)

        upstream = await self.upstream(behave)
        port = self.serve(upstream)
        asking = [Deferred.fromCoroutine(self.ask(port, f"{n}.example")) for n in range(20)]
        await gatherResults(asking)
        self.assertGreater(len(set(upstream.sources)), 15)
        self.assertGreater(len(set(ids)), 15)

    async def test_one_comes_back(self) -> None:
        self.patch(forward, "PROBE_INTERVAL", 0.02)
        first, second = await self.upstream(silent), await self.upstream(says("second"))
        port = self.serve(first, second, timeout=0.1)
        self.assertEqual(await self.text(port, "0.example"), '"second"')
        first.behave = says("first")
        number = 1
        while await self.text(port, f"{number}.example") != '"first"':
            number += 1

    async def test_the_same_question_200_times(self) -> None:
        upstream = await self.upstream(says("one"), delay=0.2)
        port = self.serve(upstream, timeout=5.0)
        asking = [Deferred.fromCoroutine(self.text(port, "example.org")) for _ in range(200)]
        self.assertEqual(set(await gatherResults(asking)), {'"one"'})
        self.assertEqual(len(upstream.names), 1)

    async def test_1000_names_that_never_answer(self) -> None:
        def behave(data: bytes) -> Sequence[bytes]:
            return says("good")(data) if b"good" in data else []

        port = self.serve(await self.upstream(behave), timeout=5.0)
        client = await self.stream(port)
        for at in range(20):
            other = await self.stream(port)
            other.ask(*(bytes(DNSRecord.question(f"{at}-{n}.example").pack()) for n in range(50)))
        client.ask(bytes(DNSRecord.question("good.example", "TXT").pack()))
        begun = reactor.seconds()
        await client.wait(1)
        self.assertEqual(str(client.answers[0].rr[0].rdata), '"good"')
        self.assertLess(reactor.seconds() - begun, 2.0)

    async def test_cname_chains_and_loops_are_passed_on(self) -> None:
        def behave(data: bytes) -> Sequence[bytes]:
            answer = DNSRecord.parse(data).reply()
            answer.add_answer(RR("a.example", dnslib.QTYPE.CNAME, ttl=60, rdata=CNAME("b.example")))
            end = CNAME("a.example") if b"\x04loop" in data else CNAME("c.example")
            answer.add_answer(RR("b.example", dnslib.QTYPE.CNAME, ttl=60, rdata=end))
            return [bytes(answer.pack())]

        port = self.serve(await self.upstream(behave))
        for name in ("a.example", "loop.a.example"):
            for _ in range(2):
                self.assertEqual(len((await self.ask(port, name, "A")).rr), 2)

    async def test_65535_bytes_over_tcp(self) -> None:
        def whole(data: bytes) -> Sequence[bytes]:
            question = data[12 : data.index(b"\0", 12) + 5]
            room, records = 65535 - 12 - len(question), []
            while room:
                size = room - 13 if room <= 268 else 100 if room < 482 else 200
                records.append(
                    b"\xc0\x0c\0\x10\0\1\0\0\0\x3c" + (size + 1).to_bytes(2) + bytes([size]) + b"x" * size
                )
                room -= len(records[-1])
            head = data[:2] + b"\x81\x80\0\1" + len(records).to_bytes(2) + bytes(4)
            return [head + question + b"".join(records)]

        upstream = await self.upstream(cut, stream=whole)
        client = await self.stream(self.serve(upstream, timeout=5.0))
        query = DNSRecord.question("example.org", "TXT")
        packed = bytes(query.pack())
        self.assertEqual(len(whole(packed)[0]), 65535)
        query.add_ar(EDNS0(udp_len=1232))
        for count, question in enumerate((packed, packed, bytes(query.pack())), 1):
            client.ask(question)
            await client.wait(count)
        self.assertEqual(
            {len(answer.rr) for answer in client.answers}, {len(DNSRecord.parse(whole(packed)[0]).rr)}
        )

    async def test_a_slow_question_holds_up_no_other_of_its_connection(self) -> None:
        def behave(data: bytes) -> Sequence[bytes]:
            return [] if b"slow" in data else says("fast")(data)

        client = await self.stream(self.serve(await self.upstream(behave), timeout=1.0))
        client.ask(*(bytes(DNSRecord.question(f"{n}.example", "TXT").pack()) for n in ("slow", "a", "b")))
        await client.wait(3)
        names = [str(answer.q.qname) for answer in client.answers]
        self.assertEqual((sorted(names[:2]), names[2]), (["a.example.", "b.example."], "slow.example."))

    async def test_a_loop_to_itself(self) -> None:
        """What comes back as a question joins the one that is under way, and both end."""
        upstream = await self.upstream(silent)
        port = self.serve(upstream, timeout=0.4)

        def behave(data: bytes) -> Sequence[bytes]:
            upstream.transport.write(data, ("127.0.0.1", port))
            return []

        upstream.behave = behave
        self.assertEqual((await self.ask(port, "example.org")).header.rcode, dnslib.RCODE.SERVFAIL)
        self.assertEqual(upstream.names.count("example.org."), 1)


class TunnelFaults(Faults, TunnelServing):
    async def test_what_is_behind_the_question_is_passed_on_unread(self) -> None:
        """Even where it is no record: the client is the one that reads it."""
        port = self.serve(await self.upstream(shortened))
        query = bytes(DNSRecord.question("example.org", "TXT").pack())
        self.assertEqual(await self.raw(port, query), shortened(query)[0])


class LocalFaults(Faults, LocalServing):
    async def test_a_malformed_answer(self) -> None:
        self.assertEqual(await self.first_of(await self.upstream(shortened)), "SERVFAIL")

    async def test_negative_answers_are_kept_with_soa_alone(self) -> None:
        def behave(data: bytes) -> Sequence[bytes]:
            answer = DNSRecord.parse(data).reply()
            answer.header.rcode = 0 if b"nodata" in data else 3
            if b"soa" in data:
                times = (1, 2, 3, 4, 60)
                answer.add_auth(RR("example", dnslib.QTYPE.SOA, ttl=60, rdata=SOA("a.", "b.", times)))
            return [bytes(answer.pack())]

        upstream = await self.upstream(behave)
        port = self.serve(upstream)
        for name, asked in (("x", 2), ("x-soa", 1), ("nodata", 2), ("nodata-soa", 1)):
            for _ in range(2):
                await self.ask(port, f"{name}.example", "A")
            self.assertEqual(upstream.names.count(f"{name}.example."), asked, name)

    async def test_spellings_share_an_answer_and_get_their_own_back(self) -> None:
        def behave(data: bytes) -> Sequence[bytes]:
            answer = DNSRecord.parse(data).reply()
            answer.add_answer(RR(answer.q.qname, dnslib.QTYPE.A, ttl=60, rdata=A("192.0.2.1")))
            return [bytes(answer.pack())]

        upstream = await self.upstream(behave, delay=0.05)
        port = self.serve(upstream)
        names = ["example.org", "EXAMPLE.org", "ExAmPlE.ORG"]
        for _ in range(2):
            asking = [Deferred.fromCoroutine(self.ask(port, name, "A")) for name in names]
            for name, answer in zip(names, await gatherResults(asking), strict=True):
                self.assertEqual((str(answer.q.qname), str(answer.rr[0].rname)), (name + ".", name + "."))
        self.assertEqual(len(upstream.names), 1)

    async def test_a_server_that_does_not_know_edns(self) -> None:
        for code in (dnslib.RCODE.FORMERR, dnslib.RCODE.NOTIMP):
            refuse = says("", code)

            def behave(data: bytes, refuse: Any = refuse) -> Sequence[bytes]:
                return refuse(data) if DNSRecord.parse(data).ar else says("plain")(data)

            self.assertEqual(await self.first_of(await self.upstream(behave)), '"plain"')

    async def test_a_server_that_does_not_know_edns_and_says_no_more(self) -> None:
        def behave(data: bytes) -> Sequence[bytes]:
            if DNSRecord.parse(data).ar:
                return [data[:2] + b"\x81\x81" + bytes(8)]
            return says("plain")(data)

        self.assertEqual(await self.first_of(await self.upstream(behave), timeout=60.0), '"plain"')

    async def test_a_server_that_does_not_know_this_version_of_edns(self) -> None:
        def behave(data: bytes) -> Sequence[bytes]:
            query = DNSRecord.parse(data)
            if not query.ar:
                return says("plain")(data)
            answer = query.reply()
            answer.add_ar(EDNS0(ext_rcode=1))
            return [bytes(answer.pack())]

        self.assertEqual(await self.first_of(await self.upstream(behave)), '"plain"')

    async def test_whether_an_answer_is_authentic_is_kept_for_those_who_ask(self) -> None:
        def behave(data: bytes) -> Sequence[bytes]:
            (packed,) = says("signed")(data)
            query = DNSRecord.parse(data).header
            return [packed[:3] + bytes([packed[3] | (0x20 if query.ad else 0)]) + packed[4:]]

        upstream = await self.upstream(behave)
        port = self.serve(upstream)
        for wants in (0, 1, 0):
            query = DNSRecord.question("example.org", "TXT")
            query.header.ad = wants
            self.assertEqual(DNSRecord.parse(await self.raw(port, bytes(query.pack()))).header.ad, wants)
        self.assertEqual(len(upstream.names), 1)
