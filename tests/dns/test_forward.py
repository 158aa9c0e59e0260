"""Which upstream server is asked, and when again."""

from __future__ import annotations

from typing import Any, cast

import dnslib
from dnslib import DNSRecord
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from superedge.config.addresses import TCPAddress
from superedge.dns import forward, ports
from tests.dns.serving import TunnelServing
from tests.dns.upstream import Upstream, reactor, says, silent


class OrderTests(TunnelServing):
    async def test_who_answers_is_asked_in_turn(self) -> None:
        first, failing = await self.upstream(silent), await self.upstream(says("", dnslib.RCODE.SERVFAIL))
        port = self.serve(first, failing, await self.upstream(says("good")))
        for _ in range(3):
            self.assertEqual(await self.text(port, "example.org"), '"good"')
        self.assertEqual(first.names, ["example.org."], "asked last from then on")
        self.assertEqual(len(failing.names), 3)

    async def test_nobody_waits_again_for_a_server_before_it_answers_a_probe(self) -> None:
        self.patch(forward, "PROBE_INTERVAL", 0.02)
        first, second = await self.upstream(silent), await self.upstream(says("second"))
        port = self.serve(first, second)
        for probes in (0, 1, 2):
            while first.names.count(".") < probes:
                await deferLater(reactor, 0.01)
            self.assertEqual(await self.text(port, "example.org"), '"second"')
        self.assertEqual(first.names.count("example.org."), 1)
        first.behave = says("first")
        while await self.text(port, "example.org") != '"first"':
            await deferLater(reactor, 0.01)
        before = first.names.count(".")
        await deferLater(reactor, 0.1)
        self.assertEqual(first.names.count("."), before, "it is well: it is asked no more")

    async def test_a_server_that_answers_the_last_hope_is_well(self) -> None:
        self.patch(forward, "PROBE_INTERVAL", 60.0)
        only = await self.upstream(silent)
        port = self.serve(only)
        self.assertEqual((await self.ask(port, "example.org")).header.rcode, dnslib.RCODE.SERVFAIL)
        only.behave = says("only")
        self.assertEqual(await self.text(port, "example.org"), '"only"')
        self.assertEqual(only.names, ["example.org."] * 2, "no probe was needed")

    async def test_no_server_answers(self) -> None:
        port = self.serve(await self.upstream(silent), Upstream.nowhere())
        self.assertEqual((await self.ask(port, "example.org")).header.rcode, dnslib.RCODE.SERVFAIL)
        port = self.serve()
        self.assertEqual((await self.ask(port, "example.org")).header.rcode, dnslib.RCODE.REFUSED)

    async def test_nobody_waits_for_a_server_whose_machine_refuses(self) -> None:
        self.patch(forward, "IMPATIENCE", 600.0)
        port = self.serve(Upstream.nowhere(), await self.upstream(says("good")), timeout=600.0)
        self.assertEqual(await self.text(port, "example.org"), '"good"')

    async def test_no_socket_for_a_question(self) -> None:
        """The process may open no more, or the kernel has no IPv6."""
        port = self.serve(Upstream.nowhere())

        def refuse(server: TCPAddress) -> Any:
            raise OSError(24, "Too many open files")

        self.patch(ports, "connected", refuse)
        self.assertEqual((await self.ask(port, "example.org")).header.rcode, dnslib.RCODE.SERVFAIL)

    async def test_servers_that_are_asked_no_more(self) -> None:
        """A question under way is answered by them; one that is not makes nobody probe them."""
        first, second = await self.upstream(silent), await self.upstream(says("second"))
        port = self.serve(first)
        forwarder: Any = self.server._forwarder
        asking = Deferred.fromCoroutine(self.text(port, "slow.example"))
        while not first.names:
            await deferLater(reactor, 0.01)
        forwarder.set_upstreams([TCPAddress("127.0.0.1", int(second.address.rpartition(":")[2]))])
        self.assertEqual(await self.text(port, "example.org"), '"second"')
        cast(Any, first.transport).write(says("first")(first.packets[0])[0], first.sources[0])
        self.assertEqual(await asking, '"first"')
        forwarder.set_upstreams([TCPAddress("127.0.0.1", int(first.address.rpartition(":")[2]))])
        asking = Deferred.fromCoroutine(self.text(port, "slower.example"))
        while len(first.names) < 2:
            await deferLater(reactor, 0.01)
        self.patch(forward, "PROBE_INTERVAL", 0.01)
        forwarder.set_upstreams([])
        self.assertEqual(await asking, "SERVFAIL")
        await deferLater(reactor, 0.05)
        self.assertEqual(first.names, ["slow.example.", "slower.example."])

    async def test_large_answers(self) -> None:
        upstream = await self.upstream(says("x" * 200, cut=True), stream=says("x" * 200, copies=4))
        port = self.serve(upstream)
        answer = await self.ask(port, "example.org")
        self.assertEqual((answer.header.tc, answer.rr), (1, []))
        client = await self.stream(port)
        client.ask(bytes(DNSRecord.question("example.org", "TXT").pack()))
        await client.wait(1)
        self.assertEqual(len(client.answers[0].rr), 4)

    async def test_ipv6_both_ways(self) -> None:
        upstream = await self.upstream(says("six"), host="::1")
        port = self.serve(upstream, listen=["[::1]:0"])
        for name, kind, answer in (("edge-1", "A", "192.0.2.10"), ("example.org", "TXT", '"six"')):
            found = DNSRecord.parse(await self.raw(port, DNSRecord.question(name, kind).pack(), "::1"))
            self.assertEqual(str(found.rr[0].rdata), answer)
