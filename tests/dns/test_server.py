"""Names of nodes over the tunnel's server, and everybody else's."""

from __future__ import annotations

from typing import Any, cast

import dnslib
from dnslib import DNSHeader, DNSRecord
from twisted.internet.task import deferLater

from tests.dns.serving import TunnelServing
from tests.dns.upstream import Client, reactor, says


class ServerTests(TunnelServing):
    async def test_zones_that_no_node_is_in(self) -> None:
        port = self.serve(upstream_zones=["corp.example"])
        names = ("kubernetes.default.svc.cluster.local", "db.corp.example", "edge-1.elsewhere.example")
        self.nodes.connected.update(dict.fromkeys(names, ["192.0.2.10"]))
        answers = [(await self.ask(port, name, "A")).header.rcode for name in names]
        self.assertEqual(answers, [dnslib.RCODE.REFUSED, dnslib.RCODE.REFUSED, dnslib.RCODE.NOERROR])

    async def test_nodes_and_others(self) -> None:
        port = self.serve(await self.upstream(says("first")))
        answer = await self.ask(port, "edge-1", "A")
        self.assertEqual(str(answer.rr[0].rdata), "192.0.2.10")
        answer = await self.ask(port, "kubernetes.default.svc.cluster.local")
        self.assertEqual(str(answer.rr[0].rdata), '"first"')

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
        self.nodes.connected.clear()
        self.nodes.changed()
        self.assertEqual((await self.ask(port, "edge-1", "A")).header.rcode, dnslib.RCODE.REFUSED)
        self.nodes.connected["edge-1"] = ["192.0.2.11"]
        self.nodes.changed()
        self.assertEqual(str((await self.ask(port, "edge-1", "A")).rr[0].rdata), "192.0.2.11")

    async def test_the_same_question_in_other_spellings_and_ways(self) -> None:
        """An answer that is kept is for exactly its question, over UDP or over TCP."""
        port = self.serve()
        self.nodes.connected = dict.fromkeys((f"edge-{number}" for number in range(100)), ["192.0.2.10"])
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

    async def test_many_names_at_one_address(self) -> None:
        port = self.serve()
        client = await self.stream(port)
        query = bytes(DNSRecord.question("10.2.0.192.in-addr.arpa", "PTR").pack())
        for count, (form, expected) in enumerate(
            (("edge-{}", 1000), ("n{0:050}.n{0:050}.n{0:050}.n{0:050}", 294)), 1
        ):
            names = [form.format(number) for number in range(2000)]
            self.nodes.connected = dict.fromkeys(names, ["192.0.2.10"])
            self.nodes.changed()
            answer = await self.ask(port, "10.2.0.192.in-addr.arpa", "PTR")
            self.assertEqual((answer.header.tc, answer.rr), (1, []))
            client.ask(query)
            await client.wait(count)
            self.assertEqual(len(client.answers[-1].rr), expected)
