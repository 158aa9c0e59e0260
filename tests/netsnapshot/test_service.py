"""When a snapshot is made, and when none is."""

from __future__ import annotations

import errno
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.networksnapshot import NetworkSnapshotConfig
from superedge.netsnapshot import service, watcher
from superedge.netsnapshot.capture import Capture, CaptureError, Request
from superedge.netsnapshot.directory import numbers, read_snapshots, write_snapshot
from superedge.netsnapshot.document import encode_snapshot
from superedge.netsnapshot.facts import Facts
from superedge.netsnapshot.service import CPU_BURST, CPU_SHARE, NetworkSnapshots
from tests.events import logged
from tests.netsnapshot.examples import FACTS, SUBNET_ENV, snapshot
from tests.netsnapshot.test_changes import DEVICES, address, link
from tests.netsnapshot.threads import Threads

FILES = {SUBNET_ENV: "FLANNEL_SUBNET=10.244.3.1/24\n"}


class Netlink:
    """A netlink socket; ``queue`` has datagrams and errors."""

    def __init__(self, *_: object) -> None:
        self.queue: list[bytes | OSError] = []

    def bind(self, groups: tuple[int, int]) -> None:
        self.groups = groups

    def setsockopt(self, *_: object) -> None:
        pass

    def fileno(self) -> int:
        return 3

    def recv(self, size: int) -> bytes:
        found = self.queue.pop(0) if self.queue else BlockingIOError(errno.EAGAIN, "no more")
        if isinstance(found, OSError):
            raise found
        return found

    def close(self) -> None:
        pass


class FakeSockets:
    """The module socket."""

    SOCK_RAW, SOCK_NONBLOCK, SOCK_CLOEXEC = socket.SOCK_RAW, socket.SOCK_NONBLOCK, socket.SOCK_CLOEXEC
    AF_NETLINK, NETLINK_ROUTE = socket.AF_NETLINK, socket.NETLINK_ROUTE

    def __init__(self, made: Netlink) -> None:
        self._made = made

    def socket(self, *_: object) -> Netlink:
        return self._made


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        parent = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, parent)
        self.directory = parent / "network"
        self.clock = Clock()
        self.reactor: Any = Threads(self.clock)
        self.found = Capture(FACTS, DEVICES, FILES, {}, [], 0.25)
        self.fault: Exception | None = None
        self.requests: list[Request] = []
        self.socket = Netlink()
        self.boot_id = "now"
        self.patch(service, "read_boot_id", lambda: self.boot_id)
        self.sockets = FakeSockets(self.socket)
        self.patch(watcher, "socket", self.sockets)

    def take(self, request: Request) -> Capture:
        self.requests.append(request)
        if self.fault is not None:
            raise self.fault
        return self.found

    def start(self, **options: Any) -> NetworkSnapshots:
        config = NetworkSnapshotConfig(
            directory=self.directory, node="edge-3", pod_cidrs=["10.244.3.0/24"], **options
        )
        self.service = NetworkSnapshots(self.reactor, config, take=self.take)
        self.service.startService()
        self.addCleanup(self.service.stopService)
        self.clock.advance(2.0)
        return self.service

    def receive(self, *data: bytes | OSError) -> None:
        self.socket.queue += data
        for reader in list(self.reactor.readers):
            try:
                reader.doRead()
            except OSError:
                # As reactors do.
                self.reactor.removeReader(reader)
                reader.connectionLost(Failure())

    def change(self, *data: bytes | OSError, **facts: Any) -> None:
        self.found = msgspec.structs.replace(self.found, facts=msgspec.structs.replace(FACTS, **facts))
        self.receive(*(data or (address(4),)))
        self.clock.advance(2.0)

    def test_the_first(self) -> None:
        self.start()
        (found,) = read_snapshots(self.directory)
        assert found.snapshot is not None
        wanted = snapshot(boot_id="now", time=found.snapshot.time)
        self.assertEqual(found.snapshot, wanted)
        self.assertEqual(self.requests[0].files, [SUBNET_ENV])
        status: Any = self.service.status()
        self.assertEqual((status["node"], status["faults"]), ("edge-3", []))
        self.assertEqual((status["snapshot"]["links"], status["snapshot"]["routes"]), (2, 4))

    def test_nothing_is_written_when_nothing_changed(self) -> None:
        self.start()
        self.change()
        self.clock.advance(600.0)
        self.clock.advance(2.0)
        self.assertEqual((len(self.requests), numbers(self.directory)), (3, [1]))

    def test_nor_after_a_restart_of_the_process(self) -> None:
        self.start()
        self.service.stopService()
        self.start()
        self.assertEqual((len(self.requests), numbers(self.directory)), (2, [1]))

    def test_a_change(self) -> None:
        self.start()
        self.change(routes=())
        self.assertEqual(numbers(self.directory), [2, 1])

    def test_a_boot_an_address_range_and_a_name_are_changes(self) -> None:
        self.start()
        cases: list[dict[str, Any]] = [{"boot_id": "next"}, {"pod_cidrs": ()}, {"node": "edge-4"}]
        for number, changes in enumerate(cases, 1):
            self.service.stopService()
            for path in self.directory.iterdir():
                path.unlink()
            kept = {"boot_id": "now", **changes}
            write_snapshot(self.directory, encode_snapshot(snapshot(**kept)))
            self.start()
            self.assertEqual(numbers(self.directory), [2, 1], number)

    def test_many_changes_at_once_are_one_reading(self) -> None:
        self.start()
        for _ in range(50):
            self.receive(address(4))
            self.clock.advance(0.01)
        self.clock.advance(2.0)
        self.assertEqual(len(self.requests), 2)

    def test_pods_that_come_and_go_are_none(self) -> None:
        self.start()
        for index in range(10, 20):
            self.receive(link(index, f"veth{index}", "veth"), link(index, f"veth{index}", "veth", new=False))
        self.clock.advance(100.0)
        self.assertEqual(len(self.requests), 1)

    def test_an_overrun_of_the_socket_is_a_change(self) -> None:
        self.start()
        self.change(OSError(errno.ENOBUFS, "No buffer space available"), routes=())
        self.assertEqual(numbers(self.directory), [2, 1])

    def test_a_fault_of_the_socket_does_not_end_the_watch(self) -> None:
        """There is another socket, which may take several tries, and what was missed is read."""
        self.start(interval=100_000.0)
        faults = [OSError(errno.EMFILE, "Too many open files")] * 2
        made = self.socket

        def socket_or_fault(*_: object) -> Netlink:
            if faults:
                raise faults.pop()
            return made

        self.patch(self.sockets, "socket", socket_or_fault)
        self.receive(OSError(errno.EBADF, "Bad file descriptor"))
        self.assertEqual(self.reactor.readers, set())
        self.found = msgspec.structs.replace(self.found, facts=Facts())
        self.clock.pump([10.0] * 3)
        self.assertEqual(len(self.reactor.readers), 1)
        self.clock.advance(2.0)
        self.assertEqual((len(self.requests), numbers(self.directory)), (2, [2, 1]))
        self.change()
        self.assertEqual((len(self.requests), numbers(self.directory)), (3, [3, 2, 1]))
        self.flushLoggedErrors(OSError)

    def test_a_stop_while_there_is_no_socket(self) -> None:
        self.start()
        self.receive(OSError(errno.EBADF, "Bad file descriptor"))
        self.service.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.flushLoggedErrors(OSError)

    def test_readings_that_fail_take_a_bounded_share_of_a_core_too(self) -> None:
        self.start(interval=100_000.0)
        self.fault = CaptureError("no end within 60 s", 0.25)
        for _ in range(10_000):
            self.receive(address(4))
            self.clock.advance(1.0)
        self.assertLessEqual(len(self.requests) * 0.25, CPU_BURST + 10_000 * CPU_SHARE + 0.25)
        self.assertGreater(len(self.requests), CPU_BURST / 0.25)

    def test_readings_take_a_bounded_share_of_a_core(self) -> None:
        self.start(interval=100_000.0)
        for _ in range(10_000):
            self.receive(address(4))
            self.clock.advance(1.0)
        self.assertLessEqual(len(self.requests) * 0.25, CPU_BURST + 10_000 * CPU_SHARE + 0.25)
        self.assertGreater(len(self.requests), CPU_BURST / 0.25)

    def test_a_change_while_the_network_is_read(self) -> None:
        self.start()
        found, self.found = self.found, msgspec.structs.replace(self.found, facts=Facts())
        take = self.take

        def changes(request: Request) -> Capture:
            self.service._take = take
            taken = take(request)
            self.receive(address(4))
            self.found = found
            return taken

        self.service._take = changes
        self.receive(address(4))
        self.clock.pump([2.0, 2.0])
        newest = read_snapshots(self.directory)[0].snapshot
        assert newest is not None
        self.assertEqual((len(self.requests), newest.facts), (3, FACTS))

    def test_a_full_disk_and_a_reading_that_fails(self) -> None:
        events = logged(self)
        self.start()
        self.patch(
            service, "write_snapshot", lambda *_: self.fail_with(OSError(errno.ENOSPC, "No space left"))
        )
        self.change(routes=())
        self.change(routes=())
        self.assertIn("No space left", str(self.service.status()["faults"]))
        self.fault = CaptureError("exit code 1")
        self.change()
        self.assertEqual(self.service.status()["faults"], ["the network cannot be read: exit code 1"])
        lines = [each for each in events if each["log_level"].name == "error"]
        self.assertEqual(len(lines), 2)
        self.fault = None
        self.patch(service, "write_snapshot", write_snapshot)
        self.change(routes=())
        self.assertEqual((self.service.status()["faults"], numbers(self.directory)), ([], [2, 1]))

    def fail_with(self, problem: Exception) -> Path:
        raise problem

    def test_files_that_cannot_be_read_are_told(self) -> None:
        self.found = msgspec.structs.replace(self.found, faults=["/run/x cannot be read: Permission denied"])
        self.start()
        self.assertEqual(self.service.status()["faults"], ["/run/x cannot be read: Permission denied"])
        self.assertEqual(numbers(self.directory), [1])

    def test_a_stop_ends_the_watch(self) -> None:
        self.start()
        self.service.stopService()
        self.assertEqual((self.reactor.readers, self.clock.getDelayedCalls()), (set(), []))
