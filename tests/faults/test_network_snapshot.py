"""Snapshot and restore on a real kernel, each in a network namespace of its own. Needs root."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.netsnapshot.directory import numbers, path_of, read_snapshots
from superedge.netsnapshot.document import Snapshot
from tests.cluster.environment import SKIP, wait_until

NAMESPACE = "nssnap-f"
EDGE = """[network_snapshot]
directory = "network"
node = "edge-3"
pod_cidrs = ["10.244.3.0/24"]
delay = 0.2
files = ["run/subnet.env"]
ipam = "ipam"
"""
UNDERLAY = """
link set lo up
link add eth0 type veth peer name lan
address add 192.0.2.3/24 dev eth0
link set eth0 up
link set lan up
route add default via 192.0.2.1
"""
AGENT = """
link add flannel.1 address 4e:00:00:00:00:03 type vxlan id 1 local 192.0.2.3 dev eth0 dstport 8472 nolearning
link set flannel.1 up
address add 10.244.3.0/32 dev flannel.1
link add cni0 mtu 1450 type bridge
address add 10.244.3.1/24 broadcast + dev cni0
address add fd00:3::1/64 dev cni0 nodad
link set cni0 promisc on up
neighbour add 10.244.4.0 lladdr 4e:00:00:00:00:04 dev flannel.1 nud permanent
neighbour add fd00:4:: lladdr 4e:00:00:00:00:04 dev flannel.1 nud permanent
route add 10.244.4.0/24 via 10.244.4.0 dev flannel.1 onlink
route add 10.244.5.0/24 via 192.0.2.5 mtu 1400 advmss 1360 congctl cubic
route add 10.244.6.0/24 nexthop via 192.0.2.6 nexthop via 192.0.2.7 weight 3
route add 10.244.7.0/24 via inet6 fd00:3::7 dev cni0
route add 10.244.8.0/24 via 10.244.3.8 table 100
rule add priority 1000 from 10.244.3.0/24 fwmark 0x2/0xf lookup 100
route add fd00:8::/64 from fd00:3::/64 via fd00:3::8 dev cni0 metric 7
route add blackhole 10.244.3.0/26
route add fd00:4::/64 via fd00:3::4 dev cni0
route add unreachable fd00:9::/64
link add vx6 type vxlan id 7 local fd00:2::3 dstport 4789 gbp l2miss ttl 9 df set noudpcsum
link add br-vx type bridge
link set vx6 master br-vx up
link set br-vx up
"""
ENTRIES = (
    ("append", "4e:00:00:00:00:04", "dev", "flannel.1", "dst", "192.0.2.4"),
    ("append", "00:00:00:00:00:00", "dev", "flannel.1", "dst", "192.0.2.4"),
    ("append", "00:00:00:00:00:00", "dev", "flannel.1", "dst", "192.0.2.5"),
    ("add", "4e:00:00:00:00:06", "dev", "vx6", "dst", "fd00:2::6"),
    ("add", "4e:00:00:00:00:07", "dev", "vx6", "master", "static"),
)
FILTERED = """
import json, socket, subprocess, sys
from superedge.netsnapshot.socketfilter import attach
from superedge.netsnapshot.watcher import GROUPS
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
attach(sock)
sock.bind((0, GROUPS))
for batch in json.load(sys.stdin):
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    seen = []
    try:
        while True:
            seen.append(int.from_bytes(sock.recv(65536)[4:6], sys.byteorder))
    except BlockingIOError:
        print(*seen)
"""
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
MADE = {"flannel.1", "cni0", "vx6", "br-vx"}


class NetworkNode:
    """A node as far as its network goes: a namespace, a directory, a boot id."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.boot_id = directory / "boot_id"
        self.boot_id.write_text(f"{uuid.uuid4()}\n")
        (directory / "edge.toml").write_text(EDGE)
        (directory / "run").mkdir()
        self.edge: subprocess.Popen[bytes] | None = None
        self.run_ip("", "netns", "add", NAMESPACE)
        self.batch(UNDERLAY)

    def run_ip(self, data: str, *arguments: str) -> str:
        command = ["ip", *arguments]
        return subprocess.run(command, input=data, capture_output=True, text=True, check=True).stdout

    def ip(self, *arguments: str) -> str:
        return self.run_ip("", "-n", NAMESPACE, *arguments)

    def batch(self, lines: str) -> None:
        self.run_ip(lines, "-n", NAMESPACE, "-batch", "-")

    def make(self) -> None:
        """What agents make."""
        self.batch(AGENT)
        self.ip(
            "-6", "rule", "add", "not", "to", "fd00:8::/64", "iif", "cni0", "lookup", "100", "priority", "7"
        )
        for entry in ENTRIES:
            subprocess.run(["bridge", "-n", NAMESPACE, "fdb", *entry], check=True, capture_output=True)
        (self.directory / "run/subnet.env").write_text("FLANNEL_SUBNET=10.244.3.1/24\n")

    def command(self, *arguments: str) -> list[str]:
        bind = f'mount --bind {self.boot_id} /proc/sys/kernel/random/boot_id && exec "$@"'
        inside = ["nsenter", f"--net=/run/netns/{NAMESPACE}", "unshare", "--mount", "sh", "-c", bind, "sh"]
        program = str(Path(sys.executable).with_name("superedge"))
        return [*inside, program, *arguments, "--config", str(self.directory / "edge.toml")]

    def start_edge(self) -> None:
        with (self.directory / "edge.log").open("ab") as log:
            self.edge = subprocess.Popen(self.command("edge"), stdout=log, stderr=log)

    def end_edge(self, sign: signal.Signals = signal.SIGKILL) -> None:
        if self.edge is not None:
            self.edge.send_signal(sign)
            self.edge.wait(20)
            self.edge = None

    def log(self) -> str:
        return (self.directory / "edge.log").read_text()

    def make_filtered(self, *batches: str) -> None:
        """After each batch, the types of messages that pass the filter are a line of the file ``seen``."""
        command = ["nsenter", f"--net=/run/netns/{NAMESPACE}", sys.executable, "-c", FILTERED]
        data = json.dumps(batches)
        done = subprocess.run(command, input=data, capture_output=True, text=True, check=True)
        (self.directory / "seen").write_text(done.stdout)

    def newest(self) -> Snapshot | None:
        found = read_snapshots(self.directory / "network")
        return found[0].snapshot if found else None

    def wait_for_snapshot(self, condition: Callable[[Snapshot], Any], what: str) -> Snapshot:
        def there() -> Snapshot | None:
            newest = self.newest()
            return newest if newest is not None and condition(newest) else None

        found: Snapshot = wait_until(there, what, 30)
        return found

    def restore(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = self.command("netrestore", *options)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def devices(self) -> set[str]:
        shown = json.loads(self.ip("-json", "link"))
        return {each["ifname"] for each in shown} - {"lo", "eth0", "lan"}

    def picture(self) -> dict[str, Any]:
        """What iproute2 shows of the network; indexes and ages differ from boot to boot."""
        links = json.loads(self.ip("-json", "-details", "link"))
        neighbours = json.loads(self.ip("-json", "neighbour", "show", "nud", "permanent"))
        for each in ("4", "6"):
            neighbours += json.loads(self.ip("-json", f"-{each}", "neighbour", "show", "nud", "permanent"))
        fdb = subprocess.run(
            ["bridge", "-n", NAMESPACE, "-json", "fdb"], capture_output=True, check=True
        ).stdout
        addresses = json.loads(self.ip("-json", "address", "show", "scope", "global"))
        routes = [
            each
            for four in "46"
            for each in json.loads(self.ip("-json", f"-{four}", "route", "show", "table", "all"))
        ]
        rules = [json.loads(self.ip("-json", f"-{each}", "rule")) for each in "46"]
        return {
            "rules": sorted(json.dumps(each, sort_keys=True) for family in rules for each in family),
            "links": sorted(map(self.of_link, (each for each in links if each["ifname"] in MADE))),
            "neighbours": sorted({json.dumps(each, sort_keys=True) for each in neighbours}),
            "fdb": sorted(
                json.dumps(each, sort_keys=True)
                for each in json.loads(fdb)
                if each["ifname"] in MADE and ("dst" in each or each.get("state") == "static")
            ),
            "addresses": sorted(
                (each["ifname"], info["local"], info["prefixlen"], info.get("broadcast"))
                for each in addresses
                if each.get("ifname") in MADE
                for info in each["addr_info"]
                if info
            ),
            "routes": sorted(
                json.dumps({key: value for key, value in each.items() if key != "flags"}, sort_keys=True)
                for each in routes
                if not str(each["dst"]).startswith(("fe80:", "ff00:"))
            ),
        }

    def of_link(self, link: dict[str, Any]) -> str:
        info = link["linkinfo"]
        kept = [link["ifname"], link["mtu"], link.get("master"), link.get("link"), info["info_kind"]]
        kept += sorted({"UP", "PROMISC"} & set(link["flags"]))
        if info["info_kind"] == "vxlan":
            # flanneld keeps a device if id, link, local, group, port, gbp and l2miss are as it wants them.
            kept += [link["address"], sorted(info["info_data"].items())]
        return json.dumps(kept)

    def power_cut(self) -> None:
        """All that agents made is gone, and the boot id is another."""
        self.end_edge()
        self.run_ip("", "netns", "delete", NAMESPACE)
        self.run_ip("", "netns", "add", NAMESPACE)
        self.batch(UNDERLAY)
        shutil.rmtree(self.directory / "run", ignore_errors=True)
        self.boot_id.write_text(f"{uuid.uuid4()}\n")

    def remove(self) -> None:
        self.end_edge()
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=False, capture_output=True)


class NetworkTests(SynchronousTestCase):
    maxDiff = None
    skip = SKIP

    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, directory)
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=False, capture_output=True)
        self.node = NetworkNode(directory)
        self.addCleanup(self.node.remove)

    def take(self) -> Snapshot:
        """A snapshot with all that agents made."""
        self.node.start_edge()
        self.node.make()

        def complete(found: Snapshot) -> bool:
            facts = found.facts
            return len(facts.links) == 4 and len(facts.fdb) == len(ENTRIES) and bool(found.files)

        return self.node.wait_for_snapshot(complete, "the snapshot is complete")

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
        node.power_cut()
        node.ip("link", "delete", "eth0")
        done = node.restore()
        self.assertEqual(done.returncode, 1)
        self.assertIn("device flannel.1: there is no device eth0\n", done.stderr)
        self.assertEqual(node.devices(), MADE - {"flannel.1"})

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

    def test_the_kernel_drops_messages(self) -> None:
        """While the process is stopped, more happens than its socket holds."""
        node = self.node
        self.take()
        assert node.edge is not None
        node.edge.send_signal(signal.SIGSTOP)
        for first in range(0, 30):
            node.batch("".join(f"route add 10.{first}.{each}.0/24 via 192.0.2.9\n" for each in range(100)))
        node.ip("route", "flush", "via", "192.0.2.9")
        node.ip("route", "add", "10.244.99.0/24", "via", "192.0.2.9")
        node.edge.send_signal(signal.SIGCONT)
        destinations = {"10.244.99.0/24"}
        node.wait_for_snapshot(
            lambda found: destinations <= {each.destination for each in found.facts.routes}, "the last route"
        )

    def test_the_kernel_tells_nothing_of_pods(self) -> None:
        """With the filter, messages come of what agents do, and none of veth pairs on a bridge."""
        node = self.node
        node.batch("link add cni0 type bridge\nlink set cni0 up\n")
        pods = "link add veth{n} type veth peer name pod{n}\nlink set veth{n} up\nlink set pod{n} up\n"
        node.make_filtered(
            "".join(pods.format(n=each) for each in range(5)),
            "".join(f"link delete veth{each}\n" for each in range(5)),
            "link add vx type vxlan id 9 local 192.0.2.3 dev eth0 dstport 8472\n",
            "link set vx up\n",
            "address add 10.9.0.0/32 dev vx\n",
            "neighbour add 10.9.1.0 lladdr 4e:00:00:00:00:01 dev vx nud permanent\n",
            "route add 10.9.1.0/24 via 10.9.1.0 dev vx onlink\n",
            "link delete vx\n",
        )
        seen = [list(map(int, line.split())) for line in (node.directory / "seen").read_text().splitlines()]
        self.assertEqual(seen[:2], [[], []])
        for turn, kind in enumerate((16, 16, 20, 28, 24, 17), 2):
            self.assertIn(kind, seen[turn])

    def test_the_process_is_killed_at_any_time(self) -> None:
        node = self.node
        node.make()
        for turn in range(4):
            node.start_edge()
            known = numbers(node.directory / "network")
            node.ip("route", "add", f"10.244.1{turn}.0/24", "via", "192.0.2.9")
            wait_until(lambda: numbers(node.directory / "network") != known, "another snapshot", 30)  # noqa: B023
            node.ip("route", "add", f"10.244.2{turn}.0/24", "via", "192.0.2.9")
            time.sleep(0.15 * turn)  # not a synchronisation: the instant is to be any
            node.end_edge()
            faults = [each.fault for each in read_snapshots(node.directory / "network")]
            self.assertEqual(faults, [""] * len(faults))
        node.power_cut()
        self.assertEqual(node.restore().returncode, 0)
        self.assertEqual(node.devices(), MADE)

    def test_a_full_disk(self) -> None:
        node = self.node
        network = node.directory / "network"
        network.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=0700", "tmpfs", network], check=True)
        self.addCleanup(lambda: subprocess.run(["umount", "-l", network], check=True))
        self.take()
        (network / "filler").write_bytes(b"")
        with open(network / "filler", "ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass
        node.ip("route", "add", "10.244.99.0/24", "via", "192.0.2.9")
        wait_until(
            lambda: "no network snapshot: [Errno 28] No space left on device" in node.log(), "it is told", 30
        )
        number = numbers(network)[0]
        self.assertIsNotNone(node.newest())
        (network / "filler").unlink()
        node.ip("route", "add", "10.244.98.0/24", "via", "192.0.2.9")
        wait_until(lambda: path_of(network, number + 1).exists(), "a snapshot when there is room again", 30)
