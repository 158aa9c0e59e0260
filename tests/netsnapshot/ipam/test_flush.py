"""What is on disk at every instant: power cuts and kill -9 between any two steps, and calls at once."""

from __future__ import annotations

import os
import posix
from collections.abc import Callable
from errno import ENOSPC, EPERM
from itertools import count
from pathlib import Path
from typing import Any

from superedge.netsnapshot.ipam import hostlocal, networkfile, sharing
from superedge.netsnapshot.ipam.allocation import Attachment
from superedge.netsnapshot.ipam.configuration import range_sets
from superedge.netsnapshot.ipam.files import check
from superedge.netsnapshot.ipam.networkfile import BACKUP, STATE, SYNC, NetworkFile
from superedge.netsnapshot.ipam.store import Reservation, Store
from tests.netsnapshot.ipam.calls import PluginCase

Files = dict[str, bytes]


class Killed(BaseException):
    """kill -9."""


class Disk:
    """The functions of `posix`, and what a power cut would leave of a directory's files.

    A name counts once the directory was flushed, a content once the file was; the file system may have
    written either before.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names: dict[str, tuple[object, ...]] = {path.name: (path.name,) for path in directory.iterdir()}
        self.flushed_names = dict(self.names)
        self.flushed: dict[tuple[object, ...], bytes] = {
            key: (directory / name).read_bytes() for name, key in self.names.items()
        }
        self.instants: list[tuple[Files, Files]] = []
        self.fsyncs = 0
        self.kill_at = -1
        self.full = ""
        self._numbers = count()
        self._open: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(posix, name)

    def _step(self) -> None:
        self.instants.append(
            (
                {name: self.flushed[key] for name, key in self.flushed_names.items()},
                {name: self.flushed[key] for name, key in self.names.items()},
            )
        )
        if len(self.instants) == self.kill_at:
            raise Killed

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        name = Path(path).name if Path(path).parent == self.directory else ""
        descriptor = posix.open(path, flags, mode)
        self._open[descriptor] = name
        if name and flags & os.O_CREAT and name not in self.names:
            self.names[name] = key = (name, next(self._numbers))
            self.flushed[key] = b""
        if name and flags & os.O_TRUNC:
            self._torn(name)
        return descriptor

    def _torn(self, name: str) -> None:
        """What is written into a file, but not flushed, may be on disk in part."""
        self.flushed[self.names[name]] = b"torn"
        self._step()

    def write(self, descriptor: int, data: bytes) -> int:
        if self.full and self._open[descriptor].startswith(self.full):
            raise OSError(ENOSPC, "No space left on device")
        half = posix.write(descriptor, data[: len(data) // 2])
        name = self._open[descriptor]
        if name in self.names:
            self._torn(name)
        return half + posix.write(descriptor, data[half:])

    def fsync(self, descriptor: int) -> None:
        self._step()
        self.fsyncs += 1
        name = self._open[descriptor]
        if name:
            self.flushed[self.names[name]] = (self.directory / name).read_bytes()
        else:
            self.flushed_names = dict(self.names)
        self._step()

    def rename(self, source: str, target: str) -> None:
        posix.rename(source, target)
        self.names[Path(target).name] = self.names.pop(Path(source).name)
        self._step()

    def link(self, source: str, target: str) -> None:
        posix.link(source, target)
        self.names[Path(target).name] = self.names[Path(source).name]
        self._step()

    def unlink(self, path: str) -> None:
        posix.unlink(path)
        del self.names[Path(path).name]
        self._step()

    def ftruncate(self, descriptor: int, length: int) -> None:
        posix.ftruncate(descriptor, length)
        if self._open[descriptor].endswith(".new"):
            self._torn(self._open[descriptor])
        self._step()


class FlushTests(PluginCase):
    def setUp(self) -> None:
        super().setUp()
        self.add("c1", "a")
        self.acknowledged = [(0, "a", "10.1.0.2")]
        self.watch()

    def watch(self) -> None:
        self.disk = Disk(self.files)
        for module in (networkfile, hostlocal, sharing):
            self.patch(module, "posix", self.disk)

    def acknowledge(self, *pods: str) -> None:
        """That ADD has answered for these pods, with the addresses that they have now."""
        at = len(self.disk.instants)
        has = {each.pod: each.addresses[0] for each in self.store.reservations()}
        self.acknowledged += [(at, pod, has[pod]) for pod in pods]

    def change(self, pod: str) -> NetworkFile:
        """The half of ADD that holds the lock."""
        sets = range_sets({"ipam": self.ipam})
        with self.store.open("edge") as file:
            file.table.add(Attachment(f"c-{pod}", "eth0", "default", pod, "u"), sets, [], False, self.now)
            file.write()
        return file

    def check_power_cuts(self) -> None:
        """After a power cut at any instant, what was acknowledged by then is there, and has one holder."""
        self.assertGreater(len(self.disk.instants), 5)
        for module in (networkfile, hostlocal, sharing):
            self.patch(module, "posix", posix)
        directory = Path(self.mktemp()).resolve()
        (directory / "edge").mkdir(parents=True)
        there: Files = {}
        found: list[Reservation] = []
        for number, left in enumerate(self.disk.instants):
            for files in left:
                if files != there:
                    for name in there.keys() | files.keys():
                        if name not in files:
                            (directory / "edge" / name).unlink()
                        elif files[name] != there.get(name):
                            (directory / "edge" / name).write_bytes(files[name])
                    there = files
                    found = Store(str(directory), str(self.results)).reservations("edge")
                    for each in {path.name for path in (directory / "edge").iterdir()} - there.keys():
                        (directory / "edge" / each).unlink()
                addresses = [address for each in found for address in each.addresses]
                self.assertEqual(len(addresses), len(set(addresses)))
                has = {(each.pod, *each.addresses) for each in found}
                expected = {(pod, address) for at, pod, address in self.acknowledged if at <= number}
                self.assertEqual(expected - has, set(), number)

    def test_one_after_the_other(self) -> None:
        for pod in ("b", "c"):
            self.add(f"c-{pod}", pod)
            self.acknowledge(pod)
        self.call("DEL", "c1", "a")
        self.add("c2", "d")
        self.acknowledge("d")
        self.check_power_cuts()

    def test_calls_at_once_share_a_flush(self) -> None:
        waiting = [self.change(pod) for pod in "bcd"]
        self.assertEqual(self.disk.fsyncs, 0)
        waiting[0].flush()
        done = self.disk.fsyncs
        self.acknowledge("b")
        for each in waiting[1:]:
            each.flush()
        self.assertEqual(self.disk.fsyncs, done)
        self.acknowledge("c", "d")
        late = self.change("e")
        self.acknowledge()
        late.flush()
        self.assertGreater(self.disk.fsyncs, done)
        self.acknowledge("e")
        self.check_power_cuts()

    def test_a_flush_that_was_killed_counts_for_nobody(self) -> None:
        """Whatever it had done; and the pod has its address after the next call."""
        for number in range(1, 30):
            self.watch()
            self.acknowledged = [(0, each.pod, each.addresses[0]) for each in self.store.reservations()]
            other, killed = self.change(f"o{number}"), self.change(f"k{number}")
            self.disk.kill_at = len(self.disk.instants) + number
            try:
                killed.flush()
            except Killed:
                pass
            else:
                break
            other.flush()
            self.acknowledge(f"o{number}", f"k{number}")
            self.change("last").flush()
            self.check_power_cuts()
        self.assertGreater(number, 5)

    def test_a_call_that_is_killed_anywhere(self) -> None:
        for number in range(1, 40):
            self.watch()
            self.disk.kill_at = number
            try:
                self.add(f"k{number}", "b")
            except Killed:
                pass
            else:
                break
            self.assertEqual(self.add(f"n{number}", "b"), "10.1.0.3")
            self.assertEqual(self.add(f"m{number}", "a"), "10.1.0.2")
            with self.store.open("edge") as file:
                self.assertEqual(file.damage(), [])
        self.assertGreater(number, 8)

    def test_what_a_killed_call_has_done_is_answered_from_the_disk(self) -> None:
        """DEL, GC and the end of a reservation find nothing left to do."""
        self.more["cni.dev/valid-attachments"] = []
        again: dict[str, Callable[[], object]] = {
            "a": lambda: self.call("DEL", "c-a", "a"),
            "b": lambda: self.call("GC"),
            "c": lambda: self.store.release("default", "c"),
        }
        for pod, repeat in again.items():
            self.change(pod).flush()
            with self.store.open("edge") as file:
                record = file.table.attached(f"c-{pod}", "eth0")
                assert record is not None
                file.table.detach(record, self.now)
                if pod == "c":
                    file.table.release("default", "c", "", False, False)
                file.write()
            self.assertNotEqual((self.files / STATE).read_bytes(), (self.files / BACKUP).read_bytes())
            repeat()
            self.assertEqual((self.files / STATE).read_bytes(), (self.files / BACKUP).read_bytes())

    def test_without_a_backup_the_state_is_flushed_before_it_is_replaced(self) -> None:
        for damage in (None, b"torn", (self.files / BACKUP).read_bytes().replace(b" 1 ", b" 99 ")):
            if damage is None:
                (self.files / BACKUP).unlink()
            else:
                (self.files / BACKUP).write_bytes(damage)
            self.watch()
            self.acknowledged = [(0, each.pod, each.addresses[0]) for each in self.store.reservations()]
            pod = f"p{len(self.acknowledged)}"
            self.add(f"c-{pod}", pod)
            self.acknowledge(pod)
            self.assertEqual((self.files / STATE).read_bytes(), (self.files / BACKUP).read_bytes())
            self.check_power_cuts()

    def test_without_a_backup_what_may_be_the_state_on_disk_is_not_written_into(self) -> None:
        (self.files / BACKUP).unlink()
        self.add("c2", "b")
        self.watch()
        self.acknowledge("a", "b")
        # A call is killed before it flushes: on disk the former file still has the name.
        self.change("c")
        (self.files / BACKUP).write_bytes(b"torn")
        for name in (STATE, BACKUP):
            self.disk.flushed[self.disk.names[name]] = (self.files / name).read_bytes()
        self.add("c4", "d")
        self.acknowledge("d")
        self.check_power_cuts()

    def test_without_room_for_a_copy_the_state_is_on_disk(self) -> None:
        self.disk.full = BACKUP
        self.add("c2", "b")
        self.acknowledge("b")
        self.assertFalse((self.files / BACKUP).exists())
        self.add("c3", "c")
        self.acknowledge("c")
        self.disk.full = ""
        self.add("c4", "d")
        self.acknowledge("d")
        self.assertEqual((self.files / STATE).read_bytes(), (self.files / BACKUP).read_bytes())
        self.check_power_cuts()

    def test_without_room_for_the_file_of_an_address_nothing_changes(self) -> None:
        before = (self.files / STATE).read_bytes()
        self.disk.full = "address"
        self.assertEqual(self.attempt("ADD", "c2", "b")[1]["code"], 5)
        self.assertEqual((self.files / STATE).read_bytes(), before)

    def test_a_state_that_is_overwritten_while_it_is_copied_is_read_again(self) -> None:
        """Two calls replace it after a third has opened it."""
        late = self.change("b")
        opened = os.open(self.files / STATE, os.O_RDONLY)
        self.addCleanup(os.close, opened)
        self.change("c")
        self.change("d")
        whole = (self.files / STATE).read_bytes()
        reads = [os.pread(opened, 1 << 16, 0)[:-9], whole]
        self.patch(hostlocal, "read", lambda path: reads.pop(0))
        late.flush()
        self.assertEqual((self.files / BACKUP).read_bytes(), whole)

    def test_a_file_system_without_links(self) -> None:
        def link(*_: object) -> None:
            raise PermissionError(EPERM, "Operation not permitted")

        self.patch(self.disk, "link", link)
        for pod in ("b", "c"):
            self.add(f"c-{pod}", pod)
            self.acknowledge(pod)
        self.check_power_cuts()

    def test_a_file_with_two_names_is_not_written_into(self) -> None:
        """As a file system without a journal might leave it."""
        for number in range(1, 30):
            (self.files / f"{STATE}.new").unlink(missing_ok=True)
            os.link(self.files / STATE, self.files / f"{STATE}.new")
            self.watch()
            self.disk.kill_at = number
            try:
                self.add(f"k{number}", "b")
            except Killed:
                check((self.files / STATE).read_bytes())
            else:
                break
        self.assertGreater(number, 8)

    def test_del_on_a_full_disk_gives_up_the_copy(self) -> None:
        self.add("c2", "b")
        self.acknowledge("b")
        real = self.disk.unlink

        def unlink(path: str) -> None:
            real(path)
            if path.endswith(BACKUP):
                self.disk.full = BACKUP

        self.patch(self.disk, "unlink", unlink)
        self.disk.full = STATE
        self.assertEqual(self.attempt("ADD", "c3", "c")[1]["code"], 5)
        self.call("DEL", "c2", "b")
        self.assertFalse((self.files / BACKUP).exists())
        self.disk.full = ""
        self.add("c3", "c")
        self.acknowledge("c")
        self.check_power_cuts()

    def test_a_torn_state_never_takes_the_place_of_the_backup(self) -> None:
        self.change("b").flush()
        file = self.change("c")
        whole = (self.files / BACKUP).read_bytes()
        (self.files / STATE).write_bytes((self.files / STATE).read_bytes()[:-9])
        problem = self.assertRaises(OSError, file.flush)
        self.assertIn("checksum", str(problem))
        self.assertEqual((self.files / BACKUP).read_bytes(), whole)
        self.assertEqual((self.files / SYNC).stat().st_size, 1)
        # The backup lacks c, but its address has a file.
        self.assertEqual(self.add("c4", "d"), "10.1.0.5")
