"""The Kubernetes DNS specification 1.1, case by case; section numbers are its own."""

from __future__ import annotations

from typing import Any

import dnslib
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.dns.cluster.zone import Found
from superedge.dns.packing import packed
from superedge.dns.wire import wire_name
from superedge.kube.errors import DecodeError
from superedge.kube.reflector import Key
from tests.dns.asking import lines, question, read
from tests.dns.cluster.objects import DNS, HTTP, Cluster, endpoint, endpoint_slice, external, service

NXDOMAIN, NODATA, FOREIGN = "NXDOMAIN", "NODATA", "not the zone's"
SVC = "svc.cluster.local"


class ZoneTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()

    def find(self, name: str, kind: str = "A") -> Found | None:
        return self.cluster.zone.find(wire_name(name), getattr(dnslib.QTYPE, kind))

    def ask(self, name: str, kind: str = "A") -> Any:
        """The records' data, or one of the constants above."""
        found = self.find(name, kind)
        if found is None:
            return FOREIGN
        if not found.exists:
            return NXDOMAIN
        if not found.records:
            return NODATA
        asked = question(name, kind)
        return [line.split(" ", 1)[1] for line in lines(read(asked, packed(asked, found.records)))]

    def glue(self, name: str) -> list[str]:
        found = self.find(name, "SRV")
        assert found is not None
        asked = question(name, "SRV")
        message = read(asked, packed(asked, found.records, (), found.additional))
        return [f"{rr.rname} {dnslib.QTYPE[rr.rtype]} {rr.rdata}" for rr in message.ar]

    def check(self, *cases: tuple[str, str, Any]) -> None:
        for name, kind, expected in cases:
            self.assertEqual(self.ask(name, kind), expected, f"{name} {kind}")


class SchemaTests(ZoneTestCase):
    def test_2_2_version(self) -> None:
        self.check(
            ("dns-version.cluster.local", "TXT", ['TXT "1.1.0"']),
            ("dns-version.cluster.local", "A", NODATA),
            ("dns-version.cluster.local", "AAAA", NODATA),
            ("x.dns-version.cluster.local", "A", NXDOMAIN),
        )

    def test_the_zone_itself(self) -> None:
        self.assertEqual(self.ask("cluster.local", "NS"), ["NS ns.dns.cluster.local."])
        self.assertEqual(len(self.ask("cluster.local", "SOA")), 1)
        self.check(
            ("cluster.local", "TXT", NODATA),
            ("cluster.local", "A", NODATA),
            ("svc.cluster.local", "A", NODATA),
            ("dns.cluster.local", "A", NODATA),
            ("ns.dns.cluster.local", "A", ["A 169.254.20.10"]),
            ("ns.dns.cluster.local", "AAAA", NODATA),
            ("nothing.cluster.local", "A", NXDOMAIN),
            ("local", "A", FOREIGN),
            ("xcluster.local", "A", FOREIGN),
            ("example.com", "A", FOREIGN),
        )

    def test_a_label_that_holds_the_zone_is_not_below_it(self) -> None:
        inside = b"\x10aa" + wire_name("cluster.local")[:-1] + b"\0"
        self.assertIsNone(self.cluster.zone.find(inside, 1))


class ClusterIPTests(ZoneTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cluster.service("web", service("10.0.0.1", ports=[HTTP, DNS, {"port": 99}]))
        self.cluster.service("dual", service("10.0.0.2", "fd00::2", ports=[HTTP]))
        self.cluster.service("six", service("fd00::3"))

    def test_2_3_1_addresses(self) -> None:
        self.check(
            (f"web.default.{SVC}", "A", ["A 10.0.0.1"]),
            (f"web.default.{SVC}", "AAAA", NODATA),
            (f"web.default.{SVC}", "TXT", NODATA),
            (f"dual.default.{SVC}", "A", ["A 10.0.0.2"]),
            (f"dual.default.{SVC}", "AAAA", ["AAAA fd00::2"]),
            (f"dual.default.{SVC}", "ANY", ["A 10.0.0.2", "AAAA fd00::2"]),
            (f"six.default.{SVC}", "A", NODATA),
            (f"WEB.Default.{SVC}", "A", ["A 10.0.0.1"]),
            (f"none.default.{SVC}", "A", NXDOMAIN),
            (f"default.{SVC}", "A", NODATA),
            (f"elsewhere.{SVC}", "A", NXDOMAIN),
            (f"web.elsewhere.{SVC}", "A", NXDOMAIN),
            (f"x.web.default.{SVC}", "A", NXDOMAIN),
        )

    def test_2_3_2_ports(self) -> None:
        self.check(
            (f"_http._tcp.web.default.{SVC}", "SRV", [f"SRV 0 100 80 web.default.{SVC}."]),
            (f"_dns._udp.web.default.{SVC}", "SRV", [f"SRV 0 100 53 web.default.{SVC}."]),
            (f"_http._udp.web.default.{SVC}", "SRV", NXDOMAIN),
            (f"_http._tcp.web.default.{SVC}", "A", NODATA),
            (f"_tcp.web.default.{SVC}", "A", NODATA),
            (f"_tcp.web.default.{SVC}", "SRV", NODATA),
            (f"_sctp.web.default.{SVC}", "A", NXDOMAIN),
            (f"_none._tcp.web.default.{SVC}", "SRV", NXDOMAIN),
            (f"http.tcp.web.default.{SVC}", "SRV", NXDOMAIN),
            (f"x._http._tcp.web.default.{SVC}", "SRV", NXDOMAIN),
        )
        self.assertEqual(
            self.glue(f"_http._tcp.dual.default.{SVC}"),
            [
                f"dual.default.{SVC}. A 10.0.0.2",
                f"dual.default.{SVC}. AAAA fd00::2",
            ],
        )

    def test_2_3_3_reverse(self) -> None:
        self.check(
            ("1.0.0.10.in-addr.arpa", "PTR", [f"PTR web.default.{SVC}."]),
            ("1.0.0.10.in-addr.arpa", "A", NODATA),
            ("2.0.0.10.in-addr.arpa", "PTR", [f"PTR dual.default.{SVC}."]),
            ("2." + "0." * 27 + "0.0.d.f.ip6.arpa", "PTR", [f"PTR dual.default.{SVC}."]),
            ("9.0.0.10.in-addr.arpa", "PTR", FOREIGN),
            ("0.0.10.in-addr.arpa", "PTR", FOREIGN),
            ("x.0.0.10.in-addr.arpa", "PTR", FOREIGN),
        )

    def test_a_change_and_an_end(self) -> None:
        serial = self.cluster.zone.serial
        self.cluster.service("web", service("10.0.0.7"))
        self.assertGreater(self.cluster.zone.serial, serial)
        self.check(
            (f"web.default.{SVC}", "A", ["A 10.0.0.7"]),
            ("1.0.0.10.in-addr.arpa", "PTR", FOREIGN),
            ("7.0.0.10.in-addr.arpa", "PTR", [f"PTR web.default.{SVC}."]),
        )
        for name in ("web", "dual", "six"):
            self.cluster.service(name, None)
        self.check(
            (f"web.default.{SVC}", "A", NXDOMAIN),
            (f"default.{SVC}", "A", NXDOMAIN),
            ("7.0.0.10.in-addr.arpa", "PTR", FOREIGN),
        )

    def test_an_address_that_moved_to_another_service_before_the_first_went(self) -> None:
        self.cluster.service("heir", service("10.0.0.1"))
        self.cluster.service("web", None)
        self.check(("1.0.0.10.in-addr.arpa", "PTR", [f"PTR heir.default.{SVC}."]))


class HeadlessTests(ZoneTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cluster.service("db", service(ports=[HTTP]))
        self.cluster.slice(
            "db-1",
            endpoint_slice(
                "db",
                endpoint("10.1.0.1", hostname="db-0"),
                endpoint("10.1.0.2"),
                endpoint("10.1.0.3", ready=False, hostname="db-2"),
                ports=[HTTP],
            ),
        )

    def test_2_4_1_addresses(self) -> None:
        self.check(
            (f"db.default.{SVC}", "A", ["A 10.1.0.1", "A 10.1.0.2"]),
            (f"db.default.{SVC}", "AAAA", NODATA),
            (f"db-0.db.default.{SVC}", "A", ["A 10.1.0.1"]),
            (f"db-0.db.default.{SVC}", "AAAA", NODATA),
            (f"10-1-0-2.db.default.{SVC}", "A", ["A 10.1.0.2"]),
            (f"db-2.db.default.{SVC}", "A", NXDOMAIN),
            (f"10-1-0-1.db.default.{SVC}", "A", NXDOMAIN),
        )

    def test_2_4_1_no_ready_endpoints(self) -> None:
        self.cluster.slice("db-1", endpoint_slice("db", endpoint("10.1.0.1", ready=False), ports=[HTTP]))
        self.check(
            (f"db.default.{SVC}", "A", NXDOMAIN),
            (f"_http._tcp.db.default.{SVC}", "SRV", NXDOMAIN),
            (f"default.{SVC}", "A", NODATA),
        )

    def test_readiness_that_is_not_said(self) -> None:
        self.cluster.slice("db-1", endpoint_slice("db", endpoint("10.1.0.9", ready=None)))
        self.check((f"db.default.{SVC}", "A", ["A 10.1.0.9"]))

    def test_published_though_not_ready(self) -> None:
        self.cluster.service("db", service(ports=[HTTP], publishNotReadyAddresses=True))
        self.check(
            (f"db-2.db.default.{SVC}", "A", ["A 10.1.0.3"]),
            ("3.0.1.10.in-addr.arpa", "PTR", [f"PTR db-2.db.default.{SVC}."]),
        )

    def test_2_4_1_a_hostname_with_several_addresses(self) -> None:
        self.cluster.slice(
            "db-6", endpoint_slice("db", endpoint("fd00::1", hostname="db-0"), family="IPv6", ports=[HTTP])
        )
        self.cluster.slice("db-2", endpoint_slice("db", endpoint("10.1.0.8", hostname="db-0"), ports=[HTTP]))
        self.check(
            (f"db-0.db.default.{SVC}", "A", ["A 10.1.0.1", "A 10.1.0.8"]),
            (f"db-0.db.default.{SVC}", "AAAA", ["AAAA fd00::1"]),
        )

    def test_2_4_2_ports_with_glue(self) -> None:
        self.check(
            (
                f"_http._tcp.db.default.{SVC}",
                "SRV",
                [
                    f"SRV 0 50 80 db-0.db.default.{SVC}.",
                    f"SRV 0 50 80 10-1-0-2.db.default.{SVC}.",
                ],
            ),
            (f"_http._tcp.db.default.{SVC}", "AAAA", NODATA),
            (f"_tcp.db.default.{SVC}", "A", NODATA),
        )
        self.assertEqual(
            self.glue(f"_http._tcp.db.default.{SVC}"),
            [
                f"db-0.db.default.{SVC}. A 10.1.0.1",
                f"10-1-0-2.db.default.{SVC}. A 10.1.0.2",
            ],
        )

    def test_2_4_3_reverse(self) -> None:
        self.check(
            ("1.0.1.10.in-addr.arpa", "PTR", [f"PTR db-0.db.default.{SVC}."]),
            ("2.0.1.10.in-addr.arpa", "PTR", [f"PTR 10-1-0-2.db.default.{SVC}."]),
            ("3.0.1.10.in-addr.arpa", "PTR", FOREIGN),
        )

    def test_endpoints_of_a_service_with_cluster_ip_have_no_names(self) -> None:
        self.cluster.service("db", service("10.0.0.1"))
        self.check(
            (f"db.default.{SVC}", "A", ["A 10.0.0.1"]),
            (f"db-0.db.default.{SVC}", "A", NXDOMAIN),
            ("1.0.1.10.in-addr.arpa", "PTR", FOREIGN),
        )

    def test_a_slice_before_its_service(self) -> None:
        self.cluster.slice("new-1", endpoint_slice("new", endpoint("10.1.1.1")))
        self.check((f"new.default.{SVC}", "A", NXDOMAIN))
        self.cluster.service("new", service())
        self.check((f"new.default.{SVC}", "A", ["A 10.1.1.1"]))

    def test_a_slice_that_went_or_changed_owner(self) -> None:
        self.cluster.slice("db-1", endpoint_slice("other", endpoint("10.1.0.1")))
        self.check((f"db.default.{SVC}", "A", NXDOMAIN))
        self.cluster.slice("db-1", None)
        self.check(("1.0.1.10.in-addr.arpa", "PTR", FOREIGN))

    def test_endpoints_that_are_names_are_none(self) -> None:
        self.cluster.slice("db-1", endpoint_slice("db", endpoint("a.example"), family="FQDN"))
        self.check((f"db.default.{SVC}", "A", NXDOMAIN))


class ExternalNameTests(ZoneTestCase):
    def test_2_5(self) -> None:
        self.cluster.service("ext", external("WWW.example.com"))
        self.check(
            (f"ext.default.{SVC}", "A", ["CNAME www.example.com."]),
            (f"ext.default.{SVC}", "AAAA", ["CNAME www.example.com."]),
            (f"ext.default.{SVC}", "CNAME", ["CNAME www.example.com."]),
            (f"x.ext.default.{SVC}", "A", NXDOMAIN),
            (f"_http._tcp.ext.default.{SVC}", "SRV", NXDOMAIN),
        )

    def test_a_name_that_is_none(self) -> None:
        self.cluster.service("ext", external("a..b"))
        self.check((f"ext.default.{SVC}", "A", NODATA))


class PodTests(ZoneTestCase):
    def test_2_6(self) -> None:
        self.check(
            ("10-1-0-1.default.pod.cluster.local", "A", ["A 10.1.0.1"]),
            ("10-1-0-1.default.pod.cluster.local", "AAAA", NODATA),
            ("fd00--1.default.pod.cluster.local", "AAAA", ["AAAA fd00::1"]),
            ("256-1-0-1.default.pod.cluster.local", "A", NXDOMAIN),
            ("10.default.pod.cluster.local", "A", NXDOMAIN),
            ("x.10-1-0-1.default.pod.cluster.local", "A", NXDOMAIN),
            ("default.pod.cluster.local", "A", NODATA),
            ("pod.cluster.local", "A", NODATA),
        )

    def test_switched_off(self) -> None:
        self.cluster = Cluster(pods=False)
        self.check(
            ("10-1-0-1.default.pod.cluster.local", "A", NXDOMAIN), ("pod.cluster.local", "A", NXDOMAIN)
        )


class ObjectTests(ZoneTestCase):
    def test_what_is_no_service(self) -> None:
        self.assertRaises(DecodeError, self.cluster.service, "x", b'{"spec": {"clusterIP": 3}}')
        self.assertRaises(DecodeError, self.cluster.slice, "x", b"[]")

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["10.0.0.1", "10.0.0.2", "", None]))))
    def test_after_any_changes_as_if_made_anew(self, changes: list[tuple[str, str | None]]) -> None:
        changed, final = Cluster(), {}
        for name, address in changes:
            raw = None if address is None else service(*([address] if address else []))
            changed.service(name, raw)
            changed.slice(name, raw and endpoint_slice(name, endpoint("10.1.0.1")))
            final[name] = (raw, raw and endpoint_slice(name, endpoint("10.1.0.1")))
        anew = Cluster()
        for name, (one, two) in final.items():
            anew.service(name, one)
            anew.slice(name, two)
        for name in "abc":
            at = wire_name(f"{name}.default.{SVC}")
            self.assertEqual(changed.zone.find(at, 1), anew.zone.find(at, 1))
        self.assertEqual(
            changed.zone.find(wire_name("1.0.1.10.in-addr.arpa"), 12),
            anew.zone.find(wire_name("1.0.1.10.in-addr.arpa"), 12),
        )
        for index in ("services", "slices", "_namespaces", "_slices_of", "_slices_at"):
            self.assertEqual(getattr(changed.zone, index), getattr(anew.zone, index), index)
        self.assertEqual(
            set(changed.zone.services), {Key("default", n) for n, (raw, _) in final.items() if raw}
        )
