"""The file of a snapshot, the last three of them, and which one a restore takes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.netsnapshot.choice import Choice, choose
from superedge.netsnapshot.directory import numbers, path_of, read_snapshots, write_snapshot
from superedge.netsnapshot.document import MAX_BYTES, SnapshotError, decode_snapshot, encode_snapshot
from superedge.netsnapshot.facts import Facts, Link
from superedge.netsnapshot.unfinished import read_unfinished, write_unfinished
from tests.netsnapshot.examples import snapshot

DATA = encode_snapshot(snapshot())


class DocumentTests(SynchronousTestCase):
    def test_there_and_back(self) -> None:
        self.assertEqual(decode_snapshot(DATA), snapshot())
        self.assertEqual(json.loads(DATA)["snapshot"]["node"], "edge-3")

    @settings(max_examples=60)
    @given(at=st.integers(0, len(DATA) - 1), bit=st.integers(0, 7))
    def test_one_wrong_bit(self, at: int, bit: int) -> None:
        damaged = bytearray(DATA)
        damaged[at] ^= 1 << bit
        try:
            found = decode_snapshot(bytes(damaged))
        except SnapshotError:
            return
        self.assertEqual(found, snapshot(), f"byte {at}")

    @settings(max_examples=40)
    @given(end=st.integers(0, len(DATA) - 2))
    def test_cut_off(self, end: int) -> None:
        self.assertRaises(SnapshotError, decode_snapshot, DATA[:end])

    def test_of_another_version(self) -> None:
        for old, new in ((b'"format":1', b'"format":2'), (b'"node"', b'"name"')):
            self.assertRaises(SnapshotError, decode_snapshot, DATA.replace(old, new))

    def test_devices_and_options_that_are_not_recorded(self) -> None:
        for link in (Link("x", "macvlan", 1500), Link("x", "bridge", 1500, options={"net_ns_pid": 1})):
            data = encode_snapshot(snapshot(facts=Facts((link,))))
            self.assertRaises(SnapshotError, decode_snapshot, data)


class InADirectory(SynchronousTestCase):
    def setUp(self) -> None:
        parent = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, parent)
        self.directory = parent / "network"

    def write(self, **changes: Any) -> Path:
        return write_snapshot(self.directory, encode_snapshot(snapshot(**changes)))


class DirectoryTests(InADirectory):
    def test_the_last_three_are_kept_whatever_the_clock_says(self) -> None:
        for moment in (500.0, 400.0, 300.0, 200.0, 100.0):
            os.utime(self.write(time=moment), (moment, moment))
        self.assertEqual(numbers(self.directory), [5, 4, 3])
        found = read_snapshots(self.directory)
        self.assertEqual([each.snapshot and each.snapshot.time for each in found], [100.0, 200.0, 300.0])

    def test_one_whose_restore_is_not_finished_is_kept(self) -> None:
        for _ in range(3):
            self.write()
        write_unfinished(self.directory, {1: "now"})
        for _ in range(4):
            self.write()
        self.assertEqual(numbers(self.directory), [7, 6, 5, 1])
        for damage in (b"", b"\xff", b"1", b"x now\n"):
            (self.directory / "unfinished").write_bytes(damage)
            self.assertEqual(read_unfinished(self.directory), {})
        self.write()
        self.assertEqual(numbers(self.directory), [8, 7, 6])

    def test_modes(self) -> None:
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (self.write(), self.directory)]
        self.assertEqual(modes, [0o600, 0o700])

    def test_a_full_disk_leaves_what_is_there(self) -> None:
        kept = [self.write(), self.write(), self.write()]

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(os, "fsync", full)
        self.assertRaises(OSError, self.write)
        self.assertEqual(sorted(self.directory.iterdir()), kept)

    def test_no_directory_and_other_files(self) -> None:
        self.assertEqual(read_snapshots(self.directory), [])
        self.write()
        for name in ("snapshot-x.json", "snapshot-2.json.old", ".snapshot.new", "snapshot--3.json"):
            (self.directory / name).write_text("{}")
        self.assertEqual(numbers(self.directory), [1])

    def test_a_file_that_grew_without_end(self) -> None:
        with open(self.write(), "ab") as file:
            file.truncate(MAX_BYTES + 1)
        (found,) = read_snapshots(self.directory)
        self.assertEqual(found.fault, f"{path_of(self.directory, 1)} has more than {MAX_BYTES} bytes")

    def test_a_kill_while_it_is_written(self) -> None:
        """At any instant the newest that can be read is whole, and no number goes back."""
        self.write()
        last = 0
        for _ in range(10):
            child = os.fork()
            if not child:
                while True:
                    write_snapshot(self.directory, DATA)
            time.sleep(0.004)  # not a synchronisation: the instant is to be any
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            found = read_snapshots(self.directory)
            self.assertEqual([each.fault for each in found], [""] * len(found))
            self.assertLessEqual(last, numbers(self.directory)[0])
            last = numbers(self.directory)[0]


class ChoiceTests(InADirectory):
    def choose(self, **options: Any) -> Any:
        arguments = {"node": "edge-3", "pod_cidrs": (), "boot_id": "now", **options}
        return choose(read_snapshots(self.directory), **arguments)

    def test_the_newest_of_an_earlier_boot(self) -> None:
        self.write(time=1.0)
        self.write(time=2.0)
        choice = self.choose()
        assert choice.snapshot is not None
        self.assertEqual((choice.snapshot.time, choice.passed_over, choice.failed), (2.0, (), False))

    def test_no_reboot(self) -> None:
        self.write()
        self.write(boot_id="now")
        choice = self.choose()
        self.assertEqual((choice.snapshot, choice.failed), (None, False))
        self.assertIn("is from this boot: the node has not rebooted since", choice.reason)
        self.assertIsNotNone(self.choose(force=True).snapshot)

    def test_torn_ones_are_passed_over(self) -> None:
        self.write(time=1.0)
        for size in (0, len(DATA) - 3):
            self.write().write_bytes(DATA[:size])
        found = self.choose()
        self.assertEqual(found.snapshot, snapshot(time=1.0))
        self.assertEqual(len(found.passed_over), 2)
        self.assertIn("snapshot-3.json is damaged or cut off", found.passed_over[0])
        self.write().write_bytes(b"")
        found = self.choose()
        self.assertEqual((found.snapshot, found.failed), (None, True))

    def test_of_another_node(self) -> None:
        self.write(node="edge-4")
        choice = self.choose()
        self.assertEqual((choice.snapshot, choice.failed), (None, True))
        self.assertIn("is of the node 'edge-4', and this is 'edge-3'", choice.passed_over[0])

    def test_of_another_pod_cidr(self) -> None:
        self.write(pod_cidrs=("10.244.9.0/24",))
        self.assertIsNotNone(self.choose().snapshot)
        choice = self.choose(pod_cidrs=("10.244.3.0/24",))
        self.assertEqual((choice.snapshot, choice.failed), (None, True))
        self.assertIn(
            "is of the podCIDR 10.244.9.0/24, and this node has 10.244.3.0/24", choice.passed_over[0]
        )

    def test_none(self) -> None:
        self.assertEqual(self.choose(), Choice(None, "there is no snapshot", (), True))
