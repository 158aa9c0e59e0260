"""Restores on a real kernel: after power cuts, beside live agents, without what they need."""

from __future__ import annotations

import subprocess
import sys

from superedge.netsnapshot.directory import numbers
from tests.faults.networknode import MADE, NAMESPACE, UNDERLAY, NetworkCase

LATE = """
from pyroute2 import IPRoute
from superedge.netsnapshot.plan import Plan
from superedge.netsnapshot.rtnetlink import Applier
from tests.netsnapshot.examples import BRIDGE, ENTRY, FLANNEL, GATEWAY, NEIGHBOUR, ROUTE
plan = Plan([BRIDGE, FLANNEL], [], [GATEWAY], [ENTRY], [NEIGHBOUR], [ROUTE])
with IPRoute() as netlink:
    applier = Applier(netlink)
    for each in (*applier.create(plan.create), *applier.apply(plan)):
        print(each)
"""
"""A plan that was made when the node had nothing yet."""


class RestoreTests(NetworkCase):
    def test_everything_is_as_it_was(self) -> None:
        node = self.node
        self.take()
        before = node.picture()
        self.assertEqual(len(before["links"]), 4)
        node.power_cut()
        self.assertEqual(node.devices(), set())
        dry = node.restore("--dry-run")
        self.assertEqual((dry.returncode, dry.stderr, node.devices()), (0, "", set()))
        *lines, subnet, _ = dry.stdout.splitlines()
        self.assertTrue(subnet.startswith("write "))
        shell = ["nsenter", f"--net=/run/netns/{NAMESPACE}", "sh", "-ec", "\n".join(lines)]
        subprocess.run(shell, check=True)
        self.assertEqual(node.picture(), before, "what is printed does the same")
        node.power_cut()
        done = node.restore()
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.assertEqual(node.picture(), before)
        self.assertEqual(dry.stdout.splitlines()[:-1], done.stdout.splitlines()[:-1])
        self.assertEqual((node.directory / "run/subnet.env").read_text(), "FLANNEL_SUBNET=10.244.3.1/24\n")
        again = node.restore()
        self.assertIn(" 0 put back", again.stdout)
        self.assertEqual((again.returncode, node.picture()), (0, before))
        number = numbers(node.directory / "network")[0]
        node.start_edge()
        node.wait_for_snapshot(lambda found: found.boot_id == node.boot_id.read_text().strip(), "a snapshot")
        self.assertEqual(numbers(node.directory / "network")[0], number + 1)
        self.assertIn("has not rebooted since", node.restore().stdout)

    def test_a_live_agent_that_came_first(self) -> None:
        node = self.node
        self.take()
        node.power_cut()
        node.batch(
            "link add flannel.1 type vxlan id 2 local 192.0.2.3 dev eth0 dstport 8472\n"
            "link add cni0 type bridge\n"
            "address add 10.244.9.1/24 dev cni0\n"
            "link set cni0 up\n"
            "route add 10.244.5.0/24 via 192.0.2.55\n"
        )
        done = node.restore()
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        for said in (
            "left as it is: device flannel.1 is there with vxlan_id 2, not 1",
            "left as it is: device cni0 has the address 10.244.9.1/24, not 10.244.3.1/24",
            "left as it is: route 10.244.5.0/24 is there by another way: via 192.0.2.55 dev eth0",
            "left as it is: route 10.244.8.0/24 needs an address that is not put back",
        ):
            self.assertIn(said, done.stdout)
        self.assertEqual(node.ip("neighbour", "show", "dev", "flannel.1"), "")
        self.assertIn("via 192.0.2.55", node.ip("route", "show", "10.244.5.0/24"))
        self.assertIn("10.244.6.0/24", node.ip("route", "show"))

    def test_an_agent_that_comes_between_the_plan_and_its_execution(self) -> None:
        node = self.node
        node.batch(
            "link add flannel.1 address 4e:00:00:00:00:99 type vxlan id 1 dstport 8472\n"
            "link set flannel.1 up\nlink add cni0 type bridge\nlink set cni0 up\n"
            "address add 10.244.3.1/24 dev cni0\n"
            "neighbour add 10.244.4.0 lladdr 4e:00:00:00:00:44 dev flannel.1 nud permanent\n"
            "route add 10.244.4.0/24 via 10.244.3.4\n"
        )
        fdb = ["bridge", "-n", NAMESPACE, "fdb"]
        entry = ("4e:00:00:00:00:04", "dev", "flannel.1", "dst", "192.0.2.44")
        subprocess.run([*fdb, "add", *entry], check=True)
        before = node.picture()
        late = ["nsenter", f"--net=/run/netns/{NAMESPACE}", sys.executable, "-c", LATE]
        done = subprocess.run(late, capture_output=True, text=True, check=True)
        self.assertEqual(node.picture(), before)
        exists = "the kernel refused it: File exists"
        self.assertEqual(
            done.stdout.splitlines(),
            [
                f"device cni0: {exists}",
                f"device flannel.1: {exists}",
                f"address 10.244.3.1/24 on cni0: {exists}",
                f"forwarding entry 4e:00:00:00:00:04 on flannel.1: {exists}",
                f"route 10.244.4.0/24: {exists}",
            ],
        )
        node.ip("neighbour", "replace", "10.244.4.0", "dev", "flannel.1", "nud", "failed")
        subprocess.run(late, capture_output=True, check=True)
        self.assertIn("4e:00:00:00:00:04 PERMANENT", node.ip("neighbour", "show", "10.244.4.0"))

    def test_what_carries_a_device_is_not_there(self) -> None:
        node = self.node
        self.take()
        before = node.picture()
        node.power_cut()
        node.ip("link", "delete", "eth0")
        done = node.restore()
        self.assertEqual(done.returncode, 1)
        self.assertIn("device flannel.1: there is no device eth0\n", done.stderr)
        self.assertEqual(node.devices(), MADE - {"flannel.1"})
        # The edge process sees the node without it; then its card comes, and the command runs again.
        node.start_edge()
        boot_id = node.boot_id.read_text().strip()
        node.wait_for_snapshot(lambda found: found.boot_id == boot_id, "a snapshot of this boot")
        node.batch(UNDERLAY)
        done = node.restore()
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.assertEqual(node.picture(), before)

    def test_names_that_mean_something_else_now(self) -> None:
        """Indexes are other ones after a boot, and names may be those of other devices."""
        node = self.node
        self.take()
        node.power_cut()
        node.batch(
            "link add other type bridge\n"
            "link add vx6 type bridge\n"
            "link add cni0 type veth peer name flannel.1\n"
        )
        done = node.restore()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("device vx6 is there with kind bridge, not vxlan", done.stdout)
        self.assertIn("device cni0 is there with kind veth, not bridge", done.stdout)
        self.assertEqual(node.devices(), {"other", "vx6", "cni0", "flannel.1", "br-vx"})

    def test_another_node_and_another_pod_cidr(self) -> None:
        node = self.node
        self.take()
        node.power_cut()
        for options, said in (
            (("--node", "edge-4"), "is of the node 'edge-3', and this is 'edge-4'"),
            (("--pod-cidr", "10.9.0.0/24"), "is of the podCIDR 10.244.3.0/24, and this node has 10.9.0.0/24"),
        ):
            done = node.restore(*options)
            self.assertEqual((done.returncode, done.stdout, node.devices()), (1, "", set()))
            self.assertIn(said, done.stderr)
        self.assertEqual(node.restore("--pod-cidr", "10.9.0.1/24").returncode, 2)
        done = node.restore("--directory", str(node.directory / "none"))
        self.assertEqual((done.returncode, done.stdout), (3, ""))
