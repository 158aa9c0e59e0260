"""The node-local server over its sockets."""

from __future__ import annotations

from typing import Any, cast

import dnslib
from dnslib import EDNS0, DNSHeader, DNSQuestion, DNSRecord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from superedge.config.addresses import TCPAddress
from superedge.config.dns import TunnelDNSConfig
from superedge.config.localdns import ForwardConfig, LocalDNSConfig, RewriteConfig
from superedge.dns import forward as forwarding
from superedge.dns import transports
from superedge.dns.cluster.objects import read_service, read_slice
from superedge.dns.local import MAX_KNOWN, LocalDNS
from superedge.dns.resolvers import forward as resolvers_forward
from superedge.dns.resolvers.rewrite import RewriteResolver
from superedge.dns.server import DNSServer
from superedge.dns.wire import parse_question
from superedge.interfaces import Answer, IResolver, IResolverPlugin, Question
from superedge.kube.reflector import Key
from superedge.net.errors import ConnectError
from tests.dns.cluster.objects import HTTP, endpoint, endpoint_slice, external, service
from tests.dns.corpus import CORPUS
from tests.dns.directory import StaticDirectory
from tests.dns.serving import Away, LocalServing
from tests.dns.upstream import Client, reactor, says, silent
from tests.events import logged

SVC = "svc.cluster.local"


def codes(answer: DNSRecord) -> tuple[str, int, int]:
    """RCODE, records, and SOA records in the authority section."""
    return dnslib.RCODE[answer.header.rcode], len(answer.rr), sum(rr.rtype == 6 for rr in answer.auth)


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class ConnectedClient(Client):
    """Takes an answer of nobody but whom it asked."""

    def startProtocol(self) -> None:
        cast(Any, self.transport).connect(self.host, self.port)
        cast(Any, self.transport).write(self.data)


class ServerTests(LocalServing):
    def put(self, name: str, raw: bytes | None) -> None:
        self.server._follower._put(
            cast(Any, self.server.zone.services),
            self.server.zone.put_service,
            Key("default", name),
            raw and read_service(raw),
        )

    def ready(self, *upstreams: Any, **options: Any) -> int:
        port = self.serve(*upstreams, **options)
        self.server._follower._restored = True
        self.put("web", service("10.0.0.1", "fd00::1", ports=[HTTP]))
        return port

    async def test_over_udp_and_tcp_online_and_negative(self) -> None:
        port = self.ready()
        cases = (
            (f"web.default.{SVC}", "A", ("NOERROR", 1, 0)),
            (f"web.default.{SVC}", "TXT", ("NOERROR", 0, 1)),
            (f"none.default.{SVC}", "A", ("NXDOMAIN", 0, 1)),
            ("dns-version.cluster.local", "AAAA", ("NOERROR", 0, 1)),
            (f"_http._tcp.web.default.{SVC}", "SRV", ("NOERROR", 1, 0)),
            ("1.0.0.10.in-addr.arpa", "PTR", ("NOERROR", 1, 0)),
            ("1.0.0.10.in-addr.arpa", "A", ("NOERROR", 0, 1)),
            ("example.org", "A", ("REFUSED", 0, 0)),
        )
        client = await self.stream(port)
        for name, kind, expected in cases * 2:
            answer = await self.ask(port, name, kind)
            self.assertEqual(codes(answer), expected, f"{name} {kind}")
            self.assertEqual(bool(answer.header.aa), name != "example.org")
            before = len(client.answers)
            client.ask(bytes(DNSRecord.question(name, kind).pack()))
            await client.wait(before + 1)
            self.assertEqual(codes(client.answers[-1]), expected)

    async def test_a_change_counts_at_once(self) -> None:
        port = self.ready()
        name = f"web.default.{SVC}"
        self.assertEqual(str((await self.ask(port, name, "A")).rr[0].rdata), "10.0.0.1")
        self.put("web", service("10.0.0.2"))
        self.assertEqual(str((await self.ask(port, name, "A")).rr[0].rdata), "10.0.0.2")
        self.put("web", None)
        self.assertEqual(codes(await self.ask(port, name, "A")), ("NXDOMAIN", 0, 1))

    async def test_another_address_is_the_first_each_time(self) -> None:
        port = self.ready()
        self.put("all", service())
        self.server.zone.put_slice(
            Key("default", "all-1"),
            read_slice(endpoint_slice("all", *map(endpoint, ("10.0.1.1", "10.0.1.2")))),
        )
        client = await self.stream(port)
        for ask in range(4):
            client.ask(bytes(DNSRecord.question(f"all.default.{SVC}").pack()))
            await client.wait(ask + 1)
        first = [str(answer.rr[0].rdata) for answer in client.answers]
        self.assertEqual((first[0], first[1]), (first[2], first[3]))
        self.assertEqual(set(first), {"10.0.1.1", "10.0.1.2"})

    async def test_before_anything_is_known(self) -> None:
        port = self.serve(await self.upstream(says("outside")))
        for name, kind in ((f"web.default.{SVC}", "A"), ("1.0.0.10.in-addr.arpa", "PTR")):
            self.assertEqual(codes(await self.ask(port, name, kind))[0], "SERVFAIL")
        self.assertEqual(codes(await self.ask(port, "example.org"))[0], "NOERROR")
        self.assertIn("services", self.server.waits_for())

    async def test_external_names(self) -> None:
        port = self.ready(await self.upstream(says("outside")))
        self.put("ext", external("www.example.org"))
        self.put("inside", external(f"web.default.{SVC}"))
        self.put("round", external(f"trip.default.{SVC}"))
        self.put("trip", external(f"round.default.{SVC}"))
        self.put("lost", external(f"none.default.{SVC}"))
        for _ in range(2):
            answer = await self.ask(port, f"ext.default.{SVC}")
            self.assertEqual([rr.rtype for rr in answer.rr], [5, 16])
            self.assertEqual(str(answer.rr[1].rname), "www.example.org.")
            for kind, last in (("A", "10.0.0.1"), ("AAAA", "fd00::1")):
                answer = await self.ask(port, f"inside.default.{SVC}", kind)
                self.assertEqual([rr.rtype for rr in answer.rr], [5, getattr(dnslib.QTYPE, kind)])
                self.assertEqual(str(answer.rr[1].rdata), last)
            self.assertEqual(codes(await self.ask(port, f"inside.default.{SVC}", "MX")), ("NOERROR", 1, 1))
            self.assertEqual(codes(await self.ask(port, f"lost.default.{SVC}", "A")), ("NXDOMAIN", 1, 1))
            self.assertEqual(codes(await self.ask(port, f"round.default.{SVC}", "A"))[0], "SERVFAIL")

    async def test_an_answer_leaves_from_the_address_that_was_asked(self) -> None:
        for listen, host in (("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "::1")):
            port = self.ready(listen=[listen])
            query = bytes(DNSRecord.question(f"web.default.{SVC}").pack())
            client = ConnectedClient(port, query, host)
            bind = "127.0.0.1" if "." in host else "::1"
            self.ports.append(reactor.listenUDP(0, client, bind, 65535))
            self.assertEqual(codes(DNSRecord.parse(await client.done)), ("NOERROR", 1, 0))

    async def test_stub_domains(self) -> None:
        one, two, three = [await self.upstream(says(text)) for text in ("one", "two", "three")]
        zones = [["."], ["corp.example"], ["lab.corp.example"]]
        forward = [
            ForwardConfig(zones=zone, upstreams=[each.address])
            for zone, each in zip(zones, (one, two, three), strict=True)
        ]
        port = self.ready(forward=forward)
        for name, text in (
            ("example.org", "one"),
            ("notcorp.example", "one"),
            ("corp.example", "two"),
            ("db.Corp.example", "two"),
            ("a.b.lab.corp.example", "three"),
        ):
            self.assertEqual(str((await self.ask(port, name)).rr[0].rdata), f'"{text}"', name)

    async def test_a_zone_whose_servers_are_silent_takes_no_other_zone_s_turn(self) -> None:
        self.patch(resolvers_forward, "MAX_PENDING", 3)
        dead, alive = await self.upstream(silent), await self.upstream(says("alive"))
        forward = [
            ForwardConfig(zones=["dead.example"], upstreams=[dead.address], timeout=0.5),
            ForwardConfig(upstreams=[alive.address]),
        ]
        port = self.ready(forward=forward)
        client = await self.stream(port)
        client.ask(*(bytes(DNSRecord.question(f"{n}.dead.example").pack()) for n in range(5)))
        await client.wait(2)
        self.assertEqual(await self.text(port, "example.org"), '"alive"')

    async def test_nameservers_of_a_file_that_changes(self) -> None:
        """Its servers have port 53, which a test cannot have: others are behind them."""
        file = self.directory / "resolv.conf"
        file.write_text("nameserver 192.0.2.1\nnameserver 127.0.0.1\n")
        first = await self.upstream(says("first"))
        forward = [ForwardConfig(upstreams=[first.address], resolv_conf=file, policy="sequential")]
        events = logged(cast(Any, self))
        port = self.ready(forward=forward)
        own = TCPAddress("0.0.0.0", 53)

        def servers() -> list[str]:
            return [each["server"] for each in cast(Any, self.server.status())["upstreams"]]

        self.assertEqual(servers(), [first.address, "192.0.2.1:53", "127.0.0.1:53"])
        self.assertEqual(await self.text(port, "example.org"), '"first"')
        cast(Any, self.server._forward)._own = [own]
        file.write_text("nameserver 127.0.0.1\nnameserver 2001:db8::1\n")
        self.server.reload_upstreams()
        self.assertEqual(servers(), [first.address, "[2001:db8::1]:53"])
        self.assertIn("127.0.0.1:53", [event.get("server") for event in events])
        file.unlink()
        self.server.reload_upstreams()
        self.assertEqual(servers(), [first.address, "[2001:db8::1]:53"], "what it had counts")
        self.assertEqual(await self.text(port, "other.example"), '"first"')

    async def test_hosts_and_rewrite(self) -> None:
        hosts = self.directory / "hosts"
        hosts.write_text("# local\n192.0.2.7 printer Printer.site # x\n2001:db8::7 printer\nbad line\n")
        rules = [
            RewriteConfig(name="www.old.example", to=f"web.default.{SVC}"),
            RewriteConfig(name="site.example", to="site", suffix=True),
        ]
        port = self.ready(chain=["rewrite", "hosts", "cluster"], hosts=[hosts], rewrite=rules)
        self.put("printing", external("printer.site.example"))
        for name, kind, expected in (
            ("printer", "A", ["192.0.2.7"]),
            ("PRINTER.site", "A", ["192.0.2.7"]),
            ("printer.site", "AAAA", []),
            ("printer", "AAAA", ["2001:db8::7"]),
            ("7.2.0.192.in-addr.arpa", "PTR", ["printer."]),
            ("printer.site.example", "A", ["192.0.2.7"]),
            ("Www.old.example", "A", ["10.0.0.1"]),
        ):
            answer = await self.ask(port, name, kind)
            self.assertEqual([str(rr.rdata) for rr in answer.rr], expected, name)
            self.assertEqual({str(rr.rname) for rr in answer.rr} - {name + "."}, set())
        answer = await self.ask(port, f"printing.default.{SVC}", "A")
        self.assertEqual([str(rr.rdata) for rr in answer.rr], ["printer.site.example.", "192.0.2.7"])
        self.assertEqual(codes(await self.ask(port, "x.othersite.example", "A"))[0], "REFUSED")
        hosts.write_text("192.0.2.8 printer\n")
        self.server.reload_hosts()
        self.assertEqual(str((await self.ask(port, "printer", "A")).rr[0].rdata), "192.0.2.8")

    async def test_a_resolver_that_fails_is_servfail_and_others_go_on(self) -> None:
        @implementer(IPlugin, IResolverPlugin)
        class Plugin:
            name = "odd"

            def create(self, reactor: Any, options: Any, following: Any) -> Any:
                @implementer(IResolver)
                class Odd:
                    async def resolve(self, question: Question) -> Answer:
                        if question.name.startswith(b"\x03odd"):
                            raise ZeroDivisionError(options["text"])
                        return await following.resolve(question)  # type: ignore[no-any-return]

                return Odd()

        options = {"plugins": {"odd": Plugin()}, "resolvers": {"odd": {"text": "mine"}}}
        port = self.ready(chain=["odd", "cluster"], **options)
        self.assertEqual(codes(await self.ask(port, "odd.example", "A"))[0], "SERVFAIL")
        (failure,) = self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(str(failure.value), "mine")
        self.assertEqual(codes(await self.ask(port, f"web.default.{SVC}", "A"))[0], "NOERROR")

    async def test_what_is_logged(self) -> None:
        port = self.ready(chain=["log", "cluster"])
        events = logged(cast(Any, self))
        for _ in range(2):
            await self.ask(port, f"Web.default.{SVC}", "A")
        lines = [event for event in events if event.get("kind") == "A"]
        self.assertEqual([line["name"] for line in lines], [f"Web.default.{SVC}."] * 2)

    async def test_another_process_may_take_over_the_address(self) -> None:
        """As an upgrade does: the new one listens before the old one ends."""
        port = self.ready(listen=["127.0.0.1:0"], reuse_port=True)
        old = self.server
        self.ready(listen=[f"127.0.0.1:{port}"], reuse_port=True)
        await old.stopService()
        answers = [await self.ask(port, f"web.default.{SVC}", "A") for _ in range(5)]
        self.assertEqual([codes(each) for each in answers], [("NOERROR", 1, 0)] * 5)
        client = await self.stream(port)
        client.ask(bytes(DNSRecord.question(f"web.default.{SVC}").pack()))
        await client.wait(1)
        problem = self.assertRaises(ConnectError, self.serve, listen=[f"127.0.0.1:{port}"])
        self.assertIn(f"127.0.0.1:{port}", str(problem))

    async def test_a_port_that_udp_cannot_have(self) -> None:
        """Any port will do where 0 is asked for."""
        asked: list[int] = []
        bind = transports._bind

        def refuse(address: TCPAddress, reuse: bool) -> Any:
            asked.append(address.port)
            if len(asked) < 3:
                raise OSError(98, "Address already in use")
            return bind(address, reuse)

        self.patch(transports, "_bind", refuse)
        port = self.ready()
        self.assertEqual((asked[-1], len(self.server.addresses)), (port, 2))
        self.assertEqual(codes(await self.ask(port, f"web.default.{SVC}", "A")), ("NOERROR", 1, 0))

    async def test_beside_the_tunnel_s_server(self) -> None:
        """On one node each answers its own names, and the end of one is none of the other's business."""
        config = TunnelDNSConfig(listen=["127.0.0.1:0"])
        tunnel = DNSServer(reactor, config, StaticDirectory(["192.0.2.10"], "edge-1"), "cluster.local")
        tunnel.startService()
        self.addCleanup(tunnel.stopService)
        nodes = int(tunnel.addresses[0].port)
        # The node's server sends names of nodes to the tunnel's.
        port = self.ready(forward=[ForwardConfig(upstreams=[f"127.0.0.1:{nodes}"])])
        for _ in range(2):
            self.assertEqual(codes(await self.ask(nodes, f"web.default.{SVC}", "A"))[0], "REFUSED")
            self.assertEqual(codes(await self.ask(port, f"web.default.{SVC}", "A")), ("NOERROR", 1, 0))
            for asked in (nodes, port):
                (record,) = (await self.ask(asked, "edge-1", "A")).rr
                self.assertEqual(str(record.rdata), "192.0.2.10")
        tunnel.stopService()
        self.assertEqual(codes(await self.ask(port, f"web.default.{SVC}", "A")), ("NOERROR", 1, 0))

    async def test_metrics_of_upstream_servers(self) -> None:
        self.patch(forwarding, "PROBE_INTERVAL", 0.01)
        upstream = await self.upstream(says("good"))
        port = self.ready(upstream, timeout=0.05)
        to = {"proxy_name": "forward", "to": upstream.address}
        await self.ask(port, "example.org")
        name = "coredns_proxy_request_duration_seconds"
        self.assertEqual(value(f"{name}_count", rcode="NOERROR", **to), 1)
        upstream.behave = silent
        broken = value("coredns_forward_healthcheck_broken_total")
        for number in range(2):
            await self.ask(port, f"{number}.example")
        while not value("coredns_proxy_healthcheck_failures_total", **to):
            await deferLater(reactor, 0.01)
        self.assertEqual(value("coredns_forward_healthcheck_broken_total"), broken + 1)

    async def test_metrics_and_status(self) -> None:
        port = self.ready(await self.upstream(silent), timeout=0.05)
        before = value("coredns_dns_requests_total", zone=".", proto="udp", type="A")
        answered = value("coredns_dns_responses_total", zone=".", rcode="NOERROR", plugin="cluster")
        for _ in range(3):
            await self.ask(port, f"web.default.{SVC}", "A")
        self.assertEqual(value("coredns_dns_requests_total", zone=".", proto="udp", type="A"), before + 3)
        self.assertEqual(
            value("coredns_dns_responses_total", zone=".", rcode="NOERROR", plugin="cluster"), answered + 3
        )
        await self.ask(port, "example.org")
        status: Any = self.server.status()
        self.assertEqual((status["services"], status["upstreams"][0]["healthy"]), (1, False))
        self.assertEqual(status["cache"], {"entries": 0, "hits": 0, "misses": 1, "stale": 0})


class PacketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = LocalDNS(reactor, LocalDNSConfig(), cast(Any, Away()), {})
        self.server._follower._restored = True
        self.server.zone.put_service(Key("default", "web"), read_service(service("10.0.0.1")))

    def respond(self, packet: bytes, stream: bool = False) -> bytes | None:
        return self.successResultOf(Deferred.fromCoroutine(self.server.respond(packet, stream)))

    def code(self, query: DNSRecord) -> int:
        answer = self.respond(bytes(query.pack()))
        assert answer is not None
        return answer[3] & 0x0F

    def test_the_corpus(self) -> None:
        for packet in CORPUS:
            for stream in (False, True):
                answer = self.respond(packet.data, stream)
                code = None if answer is None else answer[3] & 0x0F
                expected = 5 if packet.code == 0 else packet.code
                self.assertEqual(code, expected, packet.what)

    @settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
    @given(st.binary(max_size=80), st.booleans())
    def test_any_bytes(self, data: bytes, stream: bool) -> None:
        good = bytes(DNSRecord.question(f"web.default.{SVC}").pack())
        for packet in (data, good[:12] + data, good + data, data[:2] + good[2:]):
            answer = self.respond(packet, stream)
            if answer is not None:
                self.assertEqual(answer[:2], packet[:2])

    def test_other_classes_transfers_and_operations(self) -> None:
        """None of them is forwarded either."""
        config = LocalDNSConfig(forward=[ForwardConfig(upstreams=["127.0.0.1:1"])])
        self.server = LocalDNS(reactor, config, cast(Any, Away()), {})
        chaos = DNSRecord(DNSHeader())
        chaos.add_question(DNSQuestion("version.bind", 16, 3))
        self.assertEqual(self.code(chaos), 5)
        chaos = DNSRecord(DNSHeader())
        chaos.add_question(DNSQuestion(f"web.default.{SVC}", 1, 3))
        self.assertEqual(self.code(chaos), 5)
        self.assertEqual(self.code(DNSRecord.question("cluster.local", "AXFR")), 5)
        notify = DNSRecord(DNSHeader(opcode=4))
        notify.add_question(DNSQuestion("cluster.local"))
        self.assertEqual(self.code(notify), 4)

    def test_a_label_that_holds_a_suffix_is_not_below_it(self) -> None:
        rule = RewriteConfig(name="site.example", to="other.example", suffix=True)
        resolver = RewriteResolver([rule], cast(Any, None))
        self.assertIsNone(resolver._rewritten(b"\x07ab\x04site\x07example\0"))
        self.assertIsNotNone(resolver._rewritten(b"\x02ab\x04site\x07example\0"))

    def test_an_answer_whose_names_cannot_be_read_is_servfail(self) -> None:
        @implementer(IResolver)
        class Hostile:
            async def resolve(self, question: Question) -> Answer:
                ahead = b"\xc0\xff" + b"\0\1\0\1\0\0\0\5\0\4\1\2\3\4"
                return Answer(0, (1, 0, 0), ahead)

        resolver = RewriteResolver([RewriteConfig(name="a.example", to="b.example")], Hostile())
        question = parse_question(bytes(DNSRecord.question("a.example").pack()))
        assert question is not None
        answer = self.successResultOf(Deferred.fromCoroutine(resolver.resolve(question)))
        self.assertEqual((answer.code, answer.counts), (2, (0, 0, 0)))

    def test_another_version_of_edns(self) -> None:
        query = DNSRecord.question(f"web.default.{SVC}")
        query.add_ar(EDNS0(udp_len=1232, version=1))
        answer = self.respond(bytes(query.pack()))
        assert answer is not None
        message = DNSRecord.parse(answer)
        self.assertEqual((message.header.rcode, message.ar[0].ttl >> 24, message.rr), (0, 1, []))

    def test_an_unknown_type_is_no_data(self) -> None:
        query = DNSRecord(DNSHeader())
        query.add_question(DNSQuestion(f"web.default.{SVC}", 65280))
        self.assertEqual(self.code(query), 0)

    def test_answers_at_hand_take_little_memory(self) -> None:
        for number in range(500):
            query = DNSRecord.question(f"web.default.{SVC}")
            query.add_ar(EDNS0(udp_len=1232, opts=[dnslib.EDNSOption(12, number.to_bytes(60_000, "big"))]))
            self.respond(bytes(query.pack()), True)
        self.assertLess(self.server._known_size, MAX_KNOWN)
        kept = sum(len(data) for known in self.server._known for data in known)
        self.assertLess(kept, MAX_KNOWN)

    def test_the_askers_own_flags(self) -> None:
        query = DNSRecord.question(f"web.default.{SVC}")
        query.header.rd = 0
        query.header.cd = 1
        answer = self.respond(bytes(query.pack()))
        assert answer is not None
        header = DNSRecord.parse(answer).header
        self.assertEqual((header.rd, header.ra, header.aa, header.cd, header.ad), (0, 1, 1, 1, 0))
        asked = parse_question(bytes(query.pack()))
        assert asked is not None
        self.assertFalse(asked.dnssec_ok)
