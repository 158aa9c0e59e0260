"""A node's network on a real kernel, in a network namespace of its own. Needs root."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.netsnapshot.directory import read_snapshots
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


class NetworkCase(SynchronousTestCase):
    """A test with a node."""

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
