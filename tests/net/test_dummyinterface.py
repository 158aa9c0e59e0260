"""The interface of a process, on a kernel of a test's own and on the real one."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.net import dummyinterface, rtnetlink
from superedge.net.dummyinterface import DummyInterface, InterfaceError, Made
from superedge.net.rtnetlink import Message

FOUR, SIX = ip_address("169.254.20.10"), ip_address("fd00::a")
NAME = f"edge-dns{os.getpid() % 10**6}"
"""Unlike that of a suite which runs at the same time."""


class Kernel:
    """Interfaces by name, and what has which address."""

    def __init__(self) -> None:
        self.links = {"lo": (1, ""), "eth0": (2, "veth")}
        self.up: list[int] = []
        self.addresses: dict[Any, int] = {ip_address("127.0.0.1"): 1}
        self.errors: dict[bytes, int] = {}

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def fail(self, request: bytes, number: int) -> None:
        self.errors[request] = number

    def ask(self, request: bytes) -> list[Message]:
        number = self.errors.get(request)
        if number:
            raise OSError(number, os.strerror(number))
        if request == rtnetlink.get_addresses():
            pairs = [(index, address) for address, index in self.addresses.items()]
            return [Message(20, True, self.address(index, address)) for index, address in pairs]
        for name, (index, kind) in self.links.items():
            if request == rtnetlink.get_link(name):
                info = rtnetlink.new_dummy("x")[40:].replace(b"dummy", kind.encode().ljust(5, b"\0"))
                return [Message(16, False, struct.pack("=BxHiII", 0, 1, index, 0, 0) + info)]
            if request == rtnetlink.new_dummy(name):
                raise FileExistsError(errno.EEXIST, "File exists")
            if request == rtnetlink.set_up(index):
                self.up.append(index)
                return []
            for address in (FOUR, SIX):
                if request == rtnetlink.new_address(index, address):
                    self.addresses[address] = index
                    return []
        self.links[NAME] = (9, "dummy")
        return []

    @staticmethod
    def address(index: int, address: Any) -> bytes:
        return rtnetlink.new_address(index, address)[16:]


class MakingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.kernel = Kernel()
        self.left: list[Made] = []
        self.dropped: list[int] = []
        self.patch(dummyinterface, "_Route", lambda: self.kernel)
        self.patch(dummyinterface, "drop_capabilities", self.dropped.extend)

        def leave(hold: Any, made: Made) -> None:
            self.left.append(made)

        self.patch(dummyinterface, "_leave_to_child", leave)

    def make(self, name: str = NAME) -> None:
        interface = DummyInterface(name, [FOUR, SIX])
        self.addCleanup(interface.remove)
        interface.make()

    def test_a_new_one(self) -> None:
        self.make()
        self.assertEqual(self.left, [Made(9, True, [FOUR, SIX])])
        self.assertEqual((self.kernel.up, self.kernel.addresses[SIX]), ([9], 9))
        self.assertEqual(self.dropped, [12])

    def test_one_that_a_killed_process_left(self) -> None:
        self.kernel.links[NAME] = (5, "dummy")
        self.kernel.addresses[FOUR] = 5
        self.make()
        self.assertEqual(self.left, [Made(5, True, [FOUR, SIX])])
        self.assertEqual(self.kernel.addresses[SIX], 5)

    def test_another_kind_of_interface_is_not_removed(self) -> None:
        self.make("eth0")
        self.assertEqual(self.left, [Made(2, False, [FOUR, SIX])])

    def test_addresses_that_the_machine_has_stay_where_they_are(self) -> None:
        self.kernel.addresses[FOUR] = 2
        self.make()
        self.assertEqual(self.left, [Made(9, True, [SIX])])
        self.assertEqual(self.kernel.addresses[FOUR], 2)

    def test_a_kernel_without_dummy_interfaces(self) -> None:
        self.kernel.fail(rtnetlink.new_dummy(NAME), errno.EOPNOTSUPP)
        self.make()
        self.assertEqual(self.left, [Made(1, False, [FOUR, SIX])])
        self.assertEqual(self.kernel.addresses[FOUR], 1)

    def test_without_the_right(self) -> None:
        self.kernel.fail(rtnetlink.new_dummy(NAME), errno.EPERM)
        problem = self.assertRaises(InterfaceError, self.make)
        self.assertEqual(str(problem), f"interface {NAME}: making it needs CAP_NET_ADMIN")
        self.kernel.addresses.update({FOUR: 2, SIX: 2})
        self.make()
        self.assertEqual(self.left, [], "somebody else made everything")

    def test_two_at_once(self) -> None:
        first = DummyInterface(NAME, [FOUR])
        hold = first._hold()
        self.patch(dummyinterface, "HANDOVER", 0.01)
        problem = self.assertRaises(InterfaceError, self.make)
        self.assertIn("another process has it", str(problem))
        hold.close()
        self.make()


SCRIPT = """
import os, signal, sys
from ipaddress import ip_address
from superedge.net.dummyinterface import DummyInterface

def show(what):
    addresses = os.popen("ip -o addr").read()
    print(what, *(a for a in ("169.254.20.10/32", "fd00::a/128") if a in addresses), flush=True)

def make():
    interface = DummyInterface("superedge-dns", [ip_address("169.254.20.10"), ip_address("fd00::a")])
    interface.make()
    return interface

os.system("ip link set lo up")
interface = make()
show("made")
status = open("/proc/self/status").read()
sets = [int(status.split(f"Cap{name}:")[1].split()[0], 16) for name in ("Eff", "Prm", "Bnd")]
print("may", *(bool(each >> 12 & 1) for each in sets))
interface.remove()
show("removed")
"""
KILLED = SCRIPT.replace("interface.remove()", "os.kill(os.getpid(), signal.SIGKILL)")


class KernelTests(SynchronousTestCase):
    if os.geteuid():
        skip = "interfaces are made by root"

    def run_in_a_namespace(self, *scripts: str) -> list[str]:
        commands = " ; ".join(f"{sys.executable} -c '{script}'" for script in scripts)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            ["unshare", "--net", "sh", "-c", commands],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.splitlines()

    def test_it_is_there_while_the_process_is(self) -> None:
        """However the process ends; and the next one need not wait."""
        there = "made 169.254.20.10/32 fd00::a/128"
        lines = self.run_in_a_namespace(KILLED, SCRIPT)
        self.assertEqual(lines, [there, "may False False False", there, "may False False False", "removed"])
