"""Snapshots of a real kernel's network: messages that are dropped or filtered, kills, a full disk."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

from superedge.netsnapshot.directory import numbers, path_of, read_snapshots
from tests.cluster.environment import wait_until
from tests.faults.networknode import MADE, NAMESPACE, NetworkCase

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


class SnapshotTests(NetworkCase):
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

    def seen(self, *batches: str) -> list[list[int]]:
        """The types of the messages that pass the filter after each batch."""
        command = ["nsenter", f"--net=/run/netns/{NAMESPACE}", sys.executable, "-c", FILTERED]
        done = subprocess.run(command, input=json.dumps(batches), capture_output=True, text=True, check=True)
        return [list(map(int, line.split())) for line in done.stdout.splitlines()]

    def test_the_kernel_tells_nothing_of_pods(self) -> None:
        """With the filter, messages come of what agents do, and none of veth pairs on a bridge."""
        node = self.node
        node.batch("link add cni0 type bridge\nlink set cni0 up\n")
        pods = "link add veth{n} type veth peer name pod{n}\nlink set veth{n} up\nlink set pod{n} up\n"
        seen = self.seen(
            "".join(pods.format(n=each) for each in range(5)),
            "".join(f"link delete veth{each}\n" for each in range(5)),
            "link add vx type vxlan id 9 local 192.0.2.3 dev eth0 dstport 8472\n",
            "link set vx up\n",
            "address add 10.9.0.0/32 dev vx\n",
            "neighbour add 10.9.1.0 lladdr 4e:00:00:00:00:01 dev vx nud permanent\n",
            "route add 10.9.1.0/24 via 10.9.1.0 dev vx onlink\n",
            "link delete vx\n",
        )
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
