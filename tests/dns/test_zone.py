from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import dnslib
from dnslib import DNSRecord
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.dns.zone import NodeZone, Unconnected, reverse_address
from tests.dns.directory import StaticDirectory

BOTH = ["192.0.2.10", "2001:db8::10"]


class ZoneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = StaticDirectory(BOTH, "edge-1", "ip-10-0-0-1.shop.internal")

    def ask(
        self,
        name: str,
        kind: str = "A",
        addresses: list[str] | None = None,
        unconnected: Unconnected = "forward",
    ) -> DNSRecord | None:
        if addresses is not None:
            self.directory.connected["edge-1"] = addresses
        zone = NodeZone(self.directory, [".edge.example"], 2, unconnected)
        return zone.answer(DNSRecord.question(name, kind))

    def values(self, name: str, kind: str = "A") -> list[str]:
        answer = self.ask(name, kind)
        assert answer is not None
        return [str(record.rdata) for record in answer.rr]

    def test_a_connected_node(self) -> None:
        self.assertEqual(self.values("edge-1"), ["192.0.2.10"])
        self.assertEqual(self.values("edge-1", "AAAA"), ["2001:db8::10"])
        self.assertEqual(self.values("edge-1", "ANY"), BOTH)
        self.assertEqual(self.values("edge-1.edge.example"), ["192.0.2.10"])
        self.assertEqual(self.values("ip-10-0-0-1.shop.internal"), ["192.0.2.10"])
        self.assertEqual(self.values("ip-10-0-0-1.shop.internal.edge.example"), ["192.0.2.10"])

    def test_in_any_case_and_in_the_askers_own_spelling(self) -> None:
        answer = self.ask("eDgE-1.EDGE.example")
        assert answer is not None
        self.assertEqual(str(answer.rr[0].rname), "eDgE-1.EDGE.example.")
        self.assertEqual((answer.rr[0].ttl, answer.header.aa), (2, 1))

    def test_another_type_is_no_data_with_soa(self) -> None:
        for kind, addresses in (
            ("TXT", BOTH),
            ("MX", BOTH),
            ("AAAA", ["192.0.2.10"]),
            ("A", ["2001:db8::10"]),
        ):
            answer = self.ask("edge-1", kind, addresses)
            assert answer is not None
            self.assertEqual((answer.header.rcode, answer.rr), (0, []))
            self.assertEqual([record.rtype for record in answer.auth], [dnslib.QTYPE.SOA])

    def test_any_other_name(self) -> None:
        for name in ("edge-2", "edge-1.other.example", "x.edge-1", "edge.example", ".", "edge-1x"):
            self.assertIsNone(self.ask(name), name)
        del self.directory.connected["edge-1"]
        self.assertIsNone(self.ask("edge-1"))

    def test_a_zone_that_is_others(self) -> None:
        """Whatever node there is of the name, connected or not."""
        zones = ["Cluster.Local.", "corp.example", ""]
        names = ("kubernetes.default.svc.cluster.local", "cluster.local", "db.corp.example")
        for name in names:
            self.directory.connected[name] = self.directory.known[f"not-{name}"] = BOTH
        zone = NodeZone(self.directory, [".edge.example", ".corp.example"], 2, "address", zones)
        for name in (
            *names,
            *(f"not-{name}" for name in names[::2]),
            "edge-1.corp.example",
            names[0].upper(),
        ):
            self.assertIsNone(zone.answer(DNSRecord.question(name)), name)
        for name in ("edge-1", "edge-1.edge.example"):
            self.assertIsNotNone(zone.answer(DNSRecord.question(name)), name)

    def test_another_class(self) -> None:
        zone = NodeZone(self.directory, [], 2)
        self.assertIsNone(zone.answer(DNSRecord.question("edge-1", "TXT", "CH")))

    def test_a_node_that_is_not_connected(self) -> None:
        self.directory.known["edge-9"] = ["192.0.2.99"]
        self.assertIsNone(self.ask("edge-9"))
        answer = self.ask("EDGE-9.edge.example", unconnected="address")
        assert answer is not None
        self.assertEqual([str(record.rdata) for record in answer.rr], ["192.0.2.99"])
        answer = self.ask("edge-9", "AAAA", unconnected="address")
        assert answer is not None
        self.assertEqual((answer.header.rcode, answer.rr, len(answer.auth)), (0, [], 1))
        answer = self.ask("edge-9", unconnected="nxdomain")
        assert answer is not None
        self.assertEqual((answer.header.rcode, len(answer.auth)), (dnslib.RCODE.NXDOMAIN, 1))
        answer = self.ask("edge-9", unconnected="servfail")
        assert answer is not None
        self.assertEqual((answer.header.rcode, answer.auth), (dnslib.RCODE.SERVFAIL, []))
        self.directory.connected["edge-9"] = ["192.0.2.10"]
        answer = self.ask("edge-9", unconnected="nxdomain")
        assert answer is not None
        self.assertEqual([str(record.rdata) for record in answer.rr], ["192.0.2.10"])
        self.assertIsNone(self.ask("edge-8", unconnected="nxdomain"))

    def test_reverse(self) -> None:
        for name in ("10.2.0.192.in-addr.arpa", ip_address("2001:db8::10").reverse_pointer.upper()):
            self.assertEqual(self.values(name, "PTR"), ["edge-1.", "ip-10-0-0-1.shop.internal."])
            answer = self.ask(name, "A")
            assert answer is not None
            self.assertEqual((answer.header.rcode, answer.rr, len(answer.auth)), (0, [], 1))
        for name in (
            "11.2.0.192.in-addr.arpa",
            "2.0.192.in-addr.arpa",
            "x.2.0.192.in-addr.arpa",
            "in-addr.arpa",
            "10.2.0.192.example.org",
            ip_address("2001:db8::10").reverse_pointer.replace("ip6.arpa", "example.org"),
            "d.b.8.ip6.arpa",
        ):
            self.assertIsNone(self.ask(name, "PTR"), name)

    @given(st.ip_addresses())
    def test_any_address_and_back(self, address: IPv4Address | IPv6Address) -> None:
        self.assertEqual(reverse_address(address.reverse_pointer + "."), str(address))
