"""What of the kernel's network is recorded."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.config.networksnapshot import NetworkSnapshotConfig
from superedge.netsnapshot.facts import Facts, ForwardingEntry, NextHop
from superedge.netsnapshot.listing import read_all, read_facts
from tests.netsnapshot.examples import FACTS, device, messages, route

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
