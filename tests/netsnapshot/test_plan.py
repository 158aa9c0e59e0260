"""What a restore does, and what it leaves as it is."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from superedge.netsnapshot.commands import commands
from superedge.netsnapshot.facts import Address, Facts, ForwardingEntry, Link, Neighbour, NextHop, Route, Rule
from superedge.netsnapshot.plan import Plan, make_plan
from tests.netsnapshot.examples import (
    BRIDGE,
    ENTRY,
    FACTS,
    FLANNEL,
    GATEWAY,
    HOST,
    NEIGHBOUR,
    ROUTE,
    SUBNET_ENV,
    VTEP,
)

WHOLE = 2 + 3 + 1 + 1 + 4


def merged(*several: Facts) -> Facts:
    return Facts(
        *(tuple(item for each in several for item in getattr(each, name)) for name in Facts.__struct_fields__)
    )


class PlanTests(SynchronousTestCase):
    def plan(self, present: Facts, wanted: Facts = FACTS) -> Plan:
        return make_plan(wanted, present, {}, {})

    def test_after_a_reboot_everything_is_made(self) -> None:
        plan = self.plan(HOST)
        self.assertEqual((len(plan), plan.there, plan.left), (WHOLE, 0, []))
        self.assertEqual(plan.create, [BRIDGE, FLANNEL])

    def test_what_is_there_is_not_made_again(self) -> None:
        plan = self.plan(merged(HOST, FACTS))
        self.assertEqual((len(plan), plan.there, plan.left), (0, WHOLE, []))

    def test_a_restore_that_was_ended_in_the_middle_goes_on(self) -> None:
        for name in ("addresses", "fdb", "neighbours", "routes"):
            half = msgspec.structs.replace(FACTS, **{name: ()})
            self.assertEqual(len(self.plan(merged(HOST, half))), len(getattr(FACTS, name)), name)
        down = msgspec.structs.replace(FLANNEL, up=False)
        self.assertEqual(self.plan(merged(HOST, Facts((down,)))).bring_up, [FLANNEL])

    def test_a_device_that_a_live_agent_made_otherwise_keeps_what_is_on_it(self) -> None:
        for changes, said in (
            ({"options": {**FLANNEL.options, "vxlan_id": 2}}, "vxlan_id 2, not 1"),
            (
                {"options": {**FLANNEL.options, "vxlan_local": "192.0.2.9"}},
                "vxlan_local 192.0.2.9, not 192.0.2.3",
            ),
            ({"address": "4e:00:00:00:00:99"}, "address 4e:00:00:00:00:99, not 4e:00:00:00:00:03"),
            ({"under": "eth1"}, "packets carried by eth1, not eth0"),
            ({"kind": "dummy"}, "kind dummy, not vxlan"),
            ({"kind": ""}, "kind hardware, not vxlan"),
        ):
            other = msgspec.structs.replace(FLANNEL, **changes)
            plan = self.plan(merged(HOST, Facts((other,))))
            self.assertEqual(plan.left, [f"device flannel.1 is there with {said}"])
            self.assertEqual((plan.create, plan.fdb, plan.neighbours), ([BRIDGE], [], []))
            self.assertNotIn(VTEP, plan.addresses)
            self.assertNotIn(ROUTE, plan.routes)
            self.assertIn(GATEWAY, plan.addresses)

    def test_one_address_entry_neighbour_or_route_of_a_live_agent(self) -> None:
        made = Facts(
            (BRIDGE, FLANNEL),
            (Address("cni0", "10.244.9.1/24"), Address("cni0", "fe80::9/64")),
            (ForwardingEntry("flannel.1", ENTRY.lladdr, "192.0.2.44"),),
            (Neighbour("flannel.1", NEIGHBOUR.address, "4e:00:00:00:00:44"),),
            (Route(ROUTE.destination, (NextHop("eth0", "192.0.2.4"),)),),
        )
        behind = Route("10.244.8.0/24", (NextHop("cni0", "10.244.3.8"),))
        plan = self.plan(merged(HOST, made), merged(FACTS, Facts(routes=(behind,))))
        self.assertEqual(
            plan.left,
            [
                "device cni0 has the address 10.244.9.1/24, not 10.244.3.1/24",
                "4e:00:00:00:00:04 on flannel.1 leads to 192.0.2.44, not 192.0.2.4",
                "neighbour 10.244.4.0 on flannel.1 is 4e:00:00:00:00:44, not 4e:00:00:00:00:04",
                "route 10.244.4.0/24 is there by another way: via 192.0.2.4 dev eth0",
                "route 10.244.8.0/24 needs an address that is not put back",
            ],
        )
        self.assertEqual((plan.fdb, plan.neighbours, plan.there), ([], [], 2))
        self.assertEqual([each.address for each in plan.addresses], ["fd00:3::1/64", "10.244.3.0/32"])

    def test_an_address_that_an_agent_gave_to_another_device(self) -> None:
        other = Facts((Link("cilium_host", "veth", 1500),), (Address("cilium_host", "10.244.3.1/32"),))
        behind = Route("10.244.8.0/24", (NextHop("cni0", "10.244.3.8"),))
        plan = self.plan(merged(HOST, other), merged(FACTS, Facts(routes=(behind,))))
        self.assertEqual(
            plan.left,
            [
                "address 10.244.3.1/24 is on device cilium_host, not cni0",
                "route 10.244.8.0/24 needs an address that is not put back",
            ],
        )
        self.assertNotIn(GATEWAY, plan.addresses)

    def test_one_address_of_two_devices_of_the_snapshot(self) -> None:
        both = Facts((BRIDGE, FLANNEL), (VTEP, Address("cni0", "10.244.3.0/24")))
        half = msgspec.structs.replace(both, addresses=both.addresses[:1])
        self.assertEqual(self.plan(merged(HOST, half), both).addresses, [both.addresses[1]])

    def test_a_route_that_an_agent_made_with_another_metric(self) -> None:
        """It would win over the agent's, or be hidden behind it."""
        agents = Facts(routes=(msgspec.structs.replace(ROUTE, metric=100),))
        plan = self.plan(merged(HOST, Facts((FLANNEL,)), agents))
        self.assertEqual(plan.left, ["route 10.244.4.0/24 is there with the metric 100, not 0"])
        both = merged(FACTS, agents)
        self.assertIn(ROUTE, self.plan(merged(HOST, Facts((FLANNEL,)), agents), both).routes)

    def test_rules(self) -> None:
        one = Rule(1000, 100, 4, source="10.244.3.0/24", mark=2, mask=15)
        two = Rule(1001, 100, 6, input="flannel.1", inverted=True)
        wanted = merged(FACTS, Facts(rules=(one, two)))
        there = Facts(rules=(msgspec.structs.replace(one, protocol=4),))
        plan = self.plan(merged(HOST, there), wanted)
        self.assertEqual((plan.rules, plan.there), ([two], 1))
        self.assertEqual(len(plan), WHOLE + 1)
        foreign = msgspec.structs.replace(FLANNEL, address="4e:00:00:00:00:99")
        self.assertEqual(self.plan(merged(HOST, Facts((foreign,))), wanted).rules, [one])
        self.assertEqual(
            list(commands(self.plan(merged(HOST, FACTS), wanted))),
            [
                "ip rule add priority 1000 from 10.244.3.0/24 fwmark 0x2/0xf lookup 100",
                "ip -6 rule add not priority 1001 from all iif flannel.1 lookup 100",
            ],
        )

    def test_flooding_has_several_destinations(self) -> None:
        zeros = "00:00:00:00:00:00"
        both = Facts(fdb=tuple(ForwardingEntry("vx", zeros, f"192.0.2.{each}") for each in (4, 5)))
        plan = self.plan(merged(HOST, Facts(fdb=both.fdb[:1])), both)
        self.assertEqual((plan.fdb, plan.there, plan.left), ([both.fdb[1]], 1, []))

    def test_devices_come_before_those_that_need_them(self) -> None:
        vxlan = Link("a-vx", "vxlan", 1450, under="z-dummy", master="z-bridge")
        others = (Link("z-bridge", "bridge", 1450), Link("z-dummy", "dummy", 1500))
        self.assertEqual(self.plan(HOST, Facts((vxlan, *others))).create, [*others, vxlan])

    def test_files(self) -> None:
        files = {SUBNET_ENV: "ours"}
        for there, written, left in (({}, files, 0), (files, {}, 0), ({SUBNET_ENV: "theirs"}, {}, 1)):
            plan = make_plan(Facts(), HOST, files, there)
            self.assertEqual((plan.files, len(plan.left)), (written, left))

    def test_without_ipv6_the_rest_is_put_back(self) -> None:
        six = Facts(
            addresses=(Address("cni0", "fd00:3::1/64"),),
            neighbours=(Neighbour("flannel.1", "fd00:4::", "4e:00:00:00:00:04"),),
            routes=(
                Route("fd00:4::/64", (NextHop("cni0", "fd00:3::4"),)),
                Route("10.9.0.0/24", (NextHop("cni0", "fd00:3::9"),)),
            ),
            rules=(Rule(7, 100, 6),),
        )
        four = Facts((BRIDGE, FLANNEL), (GATEWAY, VTEP), (ENTRY,), (NEIGHBOUR,), (ROUTE,), (Rule(7, 100, 4),))
        left = "IPv6 is disabled on this node, so what is of it is not put back"
        self.assertEqual(len(self.plan(HOST, merged(four, six))), 8 + 5)
        for wanted, said in ((merged(four, six), [left]), (four, [])):
            plan = make_plan(wanted, HOST, {}, {}, ipv6=False)
            self.assertEqual((len(plan), plan.left), (8, said))

    def test_as_commands(self) -> None:
        text = list(commands(make_plan(FACTS, HOST, {SUBNET_ENV: "x"}, {})))
        self.assertEqual(
            text,
            [
                "ip link add cni0 mtu 1450 type bridge",
                "ip link add flannel.1 address 4e:00:00:00:00:03 mtu 1450 type vxlan id 1 nolearning"
                " local 192.0.2.3 dstport 8472 dev eth0",
                "ip link set cni0 up",
                "ip link set flannel.1 up",
                "ip address add 10.244.3.1/24 broadcast 10.244.3.255 dev cni0",
                "ip address add fd00:3::1/64 dev cni0 nodad",
                "ip address add 10.244.3.0/32 dev flannel.1",
                "bridge fdb append 4e:00:00:00:00:04 dev flannel.1 dst 192.0.2.4 self",
                "ip neighbour add 10.244.4.0 lladdr 4e:00:00:00:00:04 dev flannel.1 nud permanent",
                "ip route add blackhole 10.244.3.0/26 proto 12",
                "ip route add 10.244.4.0/24 via 10.244.4.0 dev flannel.1 onlink",
                "ip route add 10.244.5.0/24 via 192.0.2.5 dev eth0",
                "ip route add fd00:4::/64 metric 1024 via inet6 fd00:3::4 dev cni0",
                f"write {SUBNET_ENV}",
            ],
        )
