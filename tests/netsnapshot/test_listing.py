"""What of the kernel's network is recorded."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.config.networksnapshot import NetworkSnapshotConfig
from superedge.netsnapshot.document import decode_snapshot, encode_snapshot
from superedge.netsnapshot.facts import Facts, ForwardingEntry, NextHop, Route, Rule
from superedge.netsnapshot.listing import read_all, read_facts, whole
from tests.netsnapshot.examples import FACTS, device, messages, route, rule, snapshot

EXCLUDE = NetworkSnapshotConfig().exclude_devices


class ListingTests(SynchronousTestCase):
    def facts(self, **more: list[dict[str, object]]) -> Facts:
        return read_facts(messages(**more), EXCLUDE)

    def test_a_node_with_flannel_and_a_bridge(self) -> None:
        """Without what belongs to pods, Docker, the kernel, DHCP and the machine's own network."""
        self.assertEqual(self.facts(), FACTS)

    def test_a_bridge_of_the_machine_itself(self) -> None:
        own = [device(10, "br0", "bridge"), device(11, "eth1", master=10)]
        self.assertEqual(self.facts(links=own), FACTS)

    def test_a_vxlan_as_the_port_of_a_bridge(self) -> None:
        links = [
            device(10, "br0", "bridge", address="4e:00:00:00:00:11"),
            device(11, "vx", "vxlan", master=10, address="4e:00:00:00:00:11", data={"vxlan_id": 7}),
        ]
        entry = {"ifindex": 11, "lladdr": "4e:00:00:00:00:12", "master": 10, "state": 0x40, "flags": 0}
        found = self.facts(links=links, fdb=[entry])
        bridge, vxlan = (next(each for each in found.links if each.name == name) for name in ("br0", "vx"))
        self.assertEqual((bridge.address, vxlan.address), ("", "4e:00:00:00:00:11"))
        self.assertEqual((vxlan.master, vxlan.options), ("br0", {"vxlan_id": 7}))
        self.assertIn(ForwardingEntry("vx", "4e:00:00:00:00:12"), found.fdb)

    def test_a_name_that_is_not_text(self) -> None:
        """pyroute2 has it as bytes; a device of that name has no place in JSON."""
        self.assertEqual(self.facts(links=[device(11, b"b\xff", "bridge")]), FACTS)

    def test_an_option_without_a_value(self) -> None:
        """pyroute2 has it as True, which JSON would not take for a number."""
        vxlan = device(11, "a-vx", "vxlan", data={"vxlan_id": 7, "vxlan_gbp": True})
        found = decode_snapshot(encode_snapshot(snapshot(facts=self.facts(links=[vxlan])))).facts
        self.assertEqual(found.links[0].options, {"vxlan_id": 7, "vxlan_gbp": 1})

    def test_a_bridge_has_an_address_that_was_given_to_it(self) -> None:
        given = self.facts(links=[device(10, "br0", "bridge", address="4e:00:00:00:00:10")])
        self.assertEqual(given.links[0].address, "4e:00:00:00:00:10")
        left = self.facts(links=[device(10, "br0", "bridge", address="00:00:00:00:00:00")])
        self.assertEqual(left.links[0].address, "")

    def test_routes_with_several_ways(self) -> None:
        ways = [
            {"oif": 2, "gateway": "192.0.2.5", "hops": 0},
            {"oif": 3, "gateway": "10.244.9.0", "hops": 2, "flags": 4},
        ]
        found = self.facts(routes=[route("10.9.0.0", 16, multipath=ways)])
        (several,) = set(found.routes) - set(FACTS.routes)
        self.assertEqual(
            several.hops, (NextHop("eth0", "192.0.2.5"), NextHop("flannel.1", "10.244.9.0", True, 3))
        )

    def test_a_gateway_of_the_other_family(self) -> None:
        found = self.facts(routes=[route("10.9.0.0", 16, oif=4, via={"family": 10, "addr": "fd00:3::9"})])
        (other,) = set(found.routes) - set(FACTS.routes)
        self.assertEqual(other.hops, (NextHop("cni0", "fd00:3::9"),))

    def added(self, **more: list[dict[str, object]]) -> set[Route]:
        return set(self.facts(**more).routes) - set(FACTS.routes)

    def test_what_a_route_is_for_and_what_it_says_of_the_way(self) -> None:
        metrics = {
            "attrs": [("RTAX_MTU", 1400), ("RTAX_ADVMSS", 1360), ("RTAX_CC_ALGO", "cubic"), ("RTAX_RTT", 0)]
        }
        fields = {"src": "fd00:3::", "src_len": 64, "metrics": metrics}
        (found,) = self.added(routes=[route("fd00:8::", 64, family=10, oif=2, gateway="fd00:2::8", **fields)])
        self.assertEqual(found.origin, "fd00:3::/64")
        self.assertEqual(found.metrics, (("advmss", 1360), ("cc_algo", "cubic"), ("mtu", 1400)))

    def test_a_route_is_not_recorded_without_what_makes_it_another_one(self) -> None:
        tunnel = device(12, "tunl0", "ipip")
        encapsulated = {"oif": 2, "gateway": "192.0.2.9", "encap_type": 2}
        for name, one in {
            "an encapsulation": route("10.9.0.0", 16, **encapsulated),
            "an encapsulation of one way": route("10.9.0.0", 16, multipath=[encapsulated]),
            "the node's own address, as Cilium has it": route("10.9.0.0", 16, oif=7, gateway="192.0.2.3"),
            "a tunnel that an agent makes": route("10.9.0.0", 16, oif=12, gateway="192.0.2.9", flags=4),
        }.items():
            self.assertEqual(self.added(links=[tunnel], routes=[one]), set(), name)

    def test_rules_that_lead_to_a_table_with_recorded_routes(self) -> None:
        routes = [route("10.9.0.0", 16, oif=4, gateway="10.244.3.9", table=100)]
        kept = rule(100, priority=1000, src="10.244.3.0", src_len=24, fwmark=2, fwmask=15, iifname="cni0")
        others = [
            rule(255, priority=0, protocol=2),
            rule(254, priority=32766, protocol=2),
            rule(200, priority=5),
            rule(100, priority=5, action=8),
            rule(100, priority=5, uid_range="0:10"),
            rule(100, priority=5, suppress_prefixlen=0),
        ]
        found = self.facts(routes=routes, rules=[kept, *others])
        wanted = Rule(1000, 100, 4, source="10.244.3.0/24", input="cni0", mark=2, mask=15)
        self.assertEqual(found.rules, (wanted,))
        self.assertEqual(self.facts(rules=[kept]).rules, (), "no route in the table is recorded")

    def test_the_order_is_not_the_kernels(self) -> None:
        turned = messages()
        for each in (turned.links, turned.addresses, turned.fdb, turned.neighbours, turned.routes):
            each.reverse()
        self.assertEqual(read_facts(turned, EXCLUDE), FACTS)

    def test_everything_is_what_a_restore_looks_at(self) -> None:
        found = read_all(messages())
        self.assertEqual(
            {each.name for each in found.links} - {"lo"}, {"eth0", "flannel.1", "cni0", "veth7", "docker0"}
        )
        self.assertIn("0.0.0.0/0", [each.destination for each in found.routes])
        self.assertIn("192.0.2.4", [each.address for each in found.neighbours])


class DumpTests(SynchronousTestCase):
    def test_a_dump_during_which_something_changes_is_made_again(self) -> None:
        dumps = [[{"header": {"flags": 0x2}}, {"header": {"flags": 0x12}}], [{"header": {"flags": 0x2}}], []]
        self.assertEqual(whole(lambda: dumps.pop(0)), [{"header": {"flags": 0x2}}])
        self.assertEqual(dumps, [[]])
        changing = [{"header": {"flags": 0x12}}]
        self.assertIn(
            "it changed during each of 10", str(self.assertRaises(OSError, whole, lambda: changing))
        )
