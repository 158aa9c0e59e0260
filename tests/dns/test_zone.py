from __future__ import annotations

import dnslib
from dnslib import DNSRecord
from twisted.trial.unittest import SynchronousTestCase

from superedge.dns.zone import NodeZone

BOTH = ["192.0.2.10", "2001:db8::10"]


class ZoneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.connected = {"edge-1", "ip-10-0-0-1.shop.internal"}

    def ask(self, name: str, kind: str = "A", addresses: list[str] | None = None) -> DNSRecord | None:
        zone = NodeZone(self.connected.__contains__, addresses or BOTH, [".edge.example"], 2)
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
        self.connected.remove("edge-1")
        self.assertIsNone(self.ask("edge-1"))

    def test_another_class(self) -> None:
        zone = NodeZone(self.connected.__contains__, BOTH, [], 2)
        self.assertIsNone(zone.answer(DNSRecord.question("edge-1", "TXT", "CH")))
