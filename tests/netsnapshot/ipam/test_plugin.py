"""The commands of the CNI specification: results by version, errors by number."""

from __future__ import annotations

import fcntl
import json
import os
import posix
import signal
import subprocess
import sys
from collections.abc import Callable

from superedge.netsnapshot.ipam import networkfile, plugin
from superedge.netsnapshot.ipam.errors import IPAMError
from superedge.netsnapshot.ipam.files import load
from superedge.netsnapshot.ipam.records import Moment
from tests.netsnapshot.ipam.calls import PluginCase

HOST_LOCAL = "/usr/lib/cni/host-local"


class CommandTests(PluginCase):
    def test_results_by_version(self) -> None:
        self.ipam["ranges"].append([{"subnet": "fd00::/64", "gateway": "fd00::9"}])
        self.ipam["routes"] = [{"dst": "0.0.0.0/0"}]
        resolv = self.directory / "resolv.conf"
        resolv.write_text("nameserver 10.0.0.1\n")
        self.ipam["resolvConf"] = str(resolv)
        new = [
            {"address": "10.1.0.2/24", "gateway": "10.1.0.1"},
            {"address": "fd00::1/64", "gateway": "fd00::9"},
        ]
        old = [new[0] | {"version": "4"}, new[1] | {"version": "6"}]
        for self.version, ips in (("0.3.1", old), ("0.4.0", old), ("1.0.0", new), ("1.1.0", new)):
            result = {
                "cniVersion": self.version,
                "ips": ips,
                "routes": [{"dst": "0.0.0.0/0"}],
                "dns": {"nameservers": ["10.0.0.1"]},
            }
            self.assertEqual(self.call("ADD", f"c{self.version}", "a"), result)

    def test_a_result_is_that_of_host_local(self) -> None:
        """Apart from cniVersion 1.1.0, which the installed host-local does not speak."""
        if not os.path.exists(HOST_LOCAL):
            self.skipTest("host-local is not installed")
        self.ipam["ranges"] = [
            [{"subnet": "10.1.0.0/24", "rangeStart": "::ffff:10.1.0.9", "rangeEnd": "", "gateway": ""}],
            [{"subnet": "fd00::/64", "rangeStart": "fd00:0::0010"}],
        ]
        self.ipam["routes"] = [
            {"dst": "0.0.0.0/0", "gw": "10.1.0.7"},
            {"dst": "3ffe:0::1/64", "gw": ""},
            {"dst": "10.0.0.0/8", "gw": "::ffff:10.1.0.7"},
        ]
        for self.version in ("0.3.1", "0.4.0", "1.0.0"):
            container = f"c{self.version}"
            own = self.call("ADD", container)
            self.call("DEL", container)
            document = {"cniVersion": self.version, "name": "other", "ipam": self.ipam}
            done = subprocess.run(
                [HOST_LOCAL],
                input=json.dumps(document).encode(),
                env={
                    "CNI_COMMAND": "ADD",
                    "CNI_CONTAINERID": container,
                    "CNI_NETNS": "/x",
                    "CNI_IFNAME": "eth0",
                }
                | {"CNI_PATH": "/x", "CNI_NETNS_OVERRIDE": "1"},
                stdout=subprocess.PIPE,
                check=True,
            )
            peer = json.loads(done.stdout)
            peer.pop("dns", None)
            self.assertEqual(own, peer)

    def test_version(self) -> None:
        supported = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
        known = b'{"cniVersion":"0.4.0"}'
        for data, version in (
            (b"", "1.1.0"),
            (known, "0.4.0"),
            (b"{", "1.1.0"),
            (b'{"cniVersion":[1]}', "1.1.0"),
        ):
            answer = {"cniVersion": version, "supportedVersions": supported}
            self.assertEqual(self.raw("VERSION", {}, data), (0, answer))

    def test_del_is_idempotent_and_ignores_a_container_that_is_not_current(self) -> None:
        self.assertIsNone(self.call("DEL", "never", "a"))
        self.assertEqual(self.add("c1", "a"), "10.1.0.2")
        self.assertEqual(self.add("c2", "a"), "10.1.0.2")
        self.call("DEL", "c1", "a", CNI_NETNS="")
        self.call("CHECK", "c2", "a")
        self.call("DEL", "c2", "a", CNI_NETNS="")
        self.call("DEL", "c2", "a", CNI_NETNS="")
        self.assertEqual(self.add("c3", "b"), "10.1.0.3")
        self.assertEqual(self.add("c4", "a"), "10.1.0.2")

    def test_del_works_with_a_configuration_that_add_refuses(self) -> None:
        self.add("c1", "a")
        self.ipam["ranges"] = [[{"subnet": "x"}]]
        self.assertEqual(self.attempt("ADD", "c2")[0], 1)
        self.call("DEL", "c1", "a")
        self.assertEqual([each.state for each in self.store.reservations()], ["reserved"])

    def test_reservations_end_by_the_time_limit(self) -> None:
        self.ipam["reservationTTL"] = 60
        self.add("c1", "a")
        self.call("DEL", "c1", "a")
        self.now = Moment(5, "boot", 159)
        self.add("c2", "b")
        self.assertEqual({each.pod for each in self.store.reservations()}, {"a", "b"})
        self.now = Moment(5, "boot", 160)
        self.add("c3", "b")
        self.assertEqual({each.pod for each in self.store.reservations()}, {"b"})

    def test_a_pod_of_the_same_name_inherits_when_configured(self) -> None:
        for keep in (False, True):
            self.ipam["keepByName"] = keep
            before = self.add(f"c1-{keep}", f"db-{keep}", "u1")
            self.call("DEL", f"c1-{keep}", f"db-{keep}", "u1")
            self.assertEqual(self.add(f"c2-{keep}", f"db-{keep}", "u2") == before, keep)

    def test_check(self) -> None:
        self.fault(3, "container c1 has no address on eth0", "CHECK", "c1")
        result = self.call("ADD", "c1", "a")
        for self.more in ({}, {"prevResult": result}, {"prevResult": {"ips": "x"}}):
            code = 0 if self.more in ({}, {"prevResult": result}) else 1
            self.assertEqual(self.attempt("CHECK", "c1", "a")[0], code)
        result["ips"][0]["address"] = "10.1.0.77/24"
        self.more = {"prevResult": result}
        self.fault(101, "container c1 has 10.1.0.2, which prevResult lacks", "CHECK", "c1")
        self.version = "0.3.1"
        text = "CHECK needs cniVersion 0.4.0 or later, and the configuration has 0.3.1"
        self.fault(1, text, "CHECK", "c1")

    def test_status(self) -> None:
        self.ipam["ranges"] = [[{"subnet": "10.1.0.0/30"}]]
        self.call("STATUS")
        self.add("c1", "a")
        self.fault(50, "no address is free in 10.1.0.1-10.1.0.2", "STATUS")
        self.call("DEL", "c1", "a")
        self.call("STATUS")
        self.ipam["dataDir"] = "/proc/none"
        self.fault(50, "/proc/none: No such file or directory", "STATUS")
        self.version = "1.0.0"
        text = "STATUS needs cniVersion 1.1.0 or later, and the configuration has 1.0.0"
        self.fault(1, text, "STATUS")

    def test_gc(self) -> None:
        key = "cni.dev/valid-attachments"
        for number in range(3):
            self.add(f"c{number}", f"p{number}")
        self.add("plain")
        self.fault(7, f"{key}: is missing, so that nobody says what is still attached", "GC")
        self.assertEqual([each.state for each in self.store.reservations()], ["attached"] * 4)
        self.more = {key: [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "net1"}]}
        self.call("GC")
        self.assertEqual(
            {each.pod: each.state for each in self.store.reservations()},
            {"p0": "reserved", "p1": "attached", "p2": "reserved"},
        )
        self.assertEqual(sorted(each.name for each in self.files.glob("10.*")), ["10.1.0.3"])
        self.more = {key: None}
        self.call("GC")
        self.assertEqual([each.state for each in self.store.reservations()], ["reserved"] * 3)
        # A pod that comes back has what it had.
        self.assertEqual(self.add("again", "p0"), "10.1.0.2")

    def test_environment_faults(self) -> None:
        every = "ADD, CHECK, DEL, GC, STATUS, VERSION"
        self.fault(4, f"CNI_COMMAND 'add' is not one of {every}", "add")
        self.fault(4, "CNI_CONTAINERID must be set for DEL", "DEL")
        text = "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME must be set for ADD"
        self.fault(4, text, "ADD", CNI_NETNS="", CNI_IFNAME="")
        for container in ("../x", "a b", "-a"):
            self.assertEqual(self.attempt("DEL", container)[1]["code"], 4)
        for interface in ("a" * 16, "\u00fc" * 8, "..", "a/b", "a b", "a\vb", "a\u00a0b", "a:b"):
            answer = self.attempt("ADD", "c1", CNI_IFNAME=interface)[1]
            self.assertEqual(answer["code"], 4)
            self.assertIn("CNI_IFNAME", answer["msg"])
        self.fault(4, "CNI_ARGS: 'x' is not KEY=VALUE", "ADD", "c1", CNI_ARGS="x")

    def test_configuration_faults(self) -> None:
        self.ipam["resolvConf"] = "/none"
        self.fault(5, "ipam.resolvConf: there is no file /none", "ADD", "c1")
        self.ipam["resolvConf"] = "/"
        self.fault(5, "/: Is a directory", "ADD", "c1")
        self.ipam["resolvConf"] = ["/etc/resolv.conf"]
        self.fault(7, "ipam.resolvConf: ['/etc/resolv.conf'] is not a path", "ADD", "c1")
        variables = {"CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
        self.assertEqual(self.raw("DEL", variables, b"{")[1]["code"], 6)
        self.assertEqual(self.raw("DEL", variables, b'{"cniVersion": "0.1.0"}')[1]["code"], 1)
        self.assertEqual(self.raw("DEL", variables, b'{"cniVersion": "1.0.0"}')[1]["code"], 7)

    def test_files_of_the_system_may_be_links(self) -> None:
        """As systemd's resolv.conf is, and machine-id on a read-only file system."""
        for name, text in (("resolv.conf", "nameserver 10.0.0.1\n"), ("machine-id", "0123\n")):
            (self.directory / f"real-{name}").write_text(text)
            (self.directory / name).symlink_to(f"real-{name}")
        self.patch(networkfile, "MACHINE_ID", str(self.directory / "machine-id"))
        self.ipam["resolvConf"] = str(self.directory / "resolv.conf")
        self.assertEqual(self.call("ADD", "c1", "a")["dns"], {"nameservers": ["10.0.0.1"]})
        self.assertEqual(load((self.files / "state").read_bytes()).node, "0123")

    def test_a_directory_that_cannot_be_made(self) -> None:
        (self.directory / "edge").write_text("")
        code, answer = self.attempt("ADD", "c1")
        self.assertEqual((code, answer["code"]), (1, 5))
        self.assertIn(f"{self.directory}/edge", answer["msg"])

    def test_directories_that_another_call_makes_at_the_same_time(self) -> None:
        def mkdir(path: str, mode: int, real: Callable[[str, int], None] = posix.mkdir) -> None:
            real(path, mode)
            real(path, mode)

        self.patch(posix, "mkdir", mkdir)
        self.ipam["dataDir"] = f"{self.directory}/new/data"
        self.assertEqual(self.add("c1", "a"), "10.1.0.2")

    def test_a_fault_of_its_own_is_reported_too(self) -> None:
        self.patch(sys, "excepthook", lambda *_: None)
        self.patch(plugin, "moment", lambda: 1 // 0)
        self.fault(999, "ZeroDivisionError: integer division or modulo by zero", "ADD", "c1")

    def test_a_lock_that_another_process_holds_does_not_block_for_ever(self) -> None:
        self.add("c1", "a")
        with (self.files / "lock").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            before = signal.signal(signal.SIGALRM, plugin._give_up)
            self.addCleanup(signal.signal, signal.SIGALRM, before)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            problem = self.assertRaises(IPAMError, self.store.reservations)
        self.assertEqual(problem.code, 11)
        self.add("c2", "b")
