from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.interfaces import Change
from superedge.liteapiserver.stores.directory import StoreInUse
from superedge.liteapiserver.stores.file import FileStore
from superedge.liteapiserver.stores.tree import file_name

Found = dict[tuple[str, ...], bytes]


def put(name: str, value: bytes) -> Change:
    return Change("object", (name,), value)


class FileStoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def find(self, path: Path | None = None) -> Found:
        store = FileStore(path or self.path)
        found = {entry.key: entry.value for entry in store.load()}
        store.close()
        return found

    def crashed_copy(self) -> Path:
        """What the disk holds at this moment, as a kill -9 leaves it."""
        copy = Path(self.mktemp())
        shutil.copytree(self.path, copy)
        return copy

    def test_a_batch_is_durable_at_once(self) -> None:
        store = FileStore(self.path)
        store.load()
        store.apply([put("a", b"1"), put("b", b"2")])
        self.assertEqual(self.find(self.crashed_copy()), {("a",): b"1", ("b",): b"2"})

    def test_a_journal_cut_anywhere_has_whole_batches(self) -> None:
        store = FileStore(self.path)
        store.load()
        states: list[Found] = [{}]
        sizes = [0]
        journal = self.path / "journal"
        for number in range(4):
            batch = [put("same", b"%d" % number * 20), put(f"only-{number}", b"x" * 30)]
            store.apply(batch)
            states.append({**states[-1], **{change.key: change.value or b"" for change in batch}})
            sizes.append(journal.stat().st_size)
        whole = journal.read_bytes()
        for end in range(len(whole) + 1):
            copy = self.path.with_name(f"cut-{end}")
            copy.mkdir()
            (copy / "journal").write_bytes(whole[:end])
            self.assertEqual(self.find(copy), states[sum(size <= end for size in sizes) - 1])

    def test_what_follows_a_torn_batch_is_kept(self) -> None:
        store = FileStore(self.path)
        store.load()
        store.apply([put("a", b"1")])
        copy = self.crashed_copy()
        with open(copy / "journal", "ab") as journal:
            journal.write(b"\0\0\0\x50torn")
        second = FileStore(copy)
        self.assertEqual(len(second.load()), 1)
        second.apply([put("b", b"2")])
        self.path = copy
        self.assertEqual(self.find(self.crashed_copy()), {("a",): b"1", ("b",): b"2"})

    def test_a_crash_while_folding_changes_nothing(self) -> None:
        store = FileStore(self.path)
        store.load()
        store.apply([put("a", b"1"), put("b", b"2")])
        before = self.crashed_copy()
        store.close()
        # Some files are in the tree already, the journal is still whole.
        shutil.copytree(self.path / "tree", before / "tree")
        os.unlink(next((before / "tree").rglob("a")))
        self.assertEqual(self.find(before), {("a",): b"1", ("b",): b"2"})

    def test_a_damaged_file_is_dropped_alone(self) -> None:
        store = FileStore(self.path)
        store.load()
        store.apply([put("a", b"1"), put("b", b"2"), put("c", b"3")])
        store.close()
        files = {path.name: path for path in (self.path / "tree").rglob("*") if path.is_file()}
        files["a"].write_bytes(files["a"].read_bytes()[:-1] + b"9")
        files["b"].write_bytes(b"")
        (files["b"].parent / "d").write_bytes(b'{"x":' + b"[" * 5000)
        self.assertEqual(self.find(), {("c",): b"3"})
        self.assertFalse(files["a"].exists())
        self.assertEqual(self.find(), {("c",): b"3"})

    def test_nobody_else_may_read(self) -> None:
        store = FileStore(self.path)
        store.load()
        store.apply([put("secret", b"1")])
        store.close()
        for path in [self.path, *self.path.rglob("*")]:
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_a_refused_batch_is_not_there_and_the_next_is(self) -> None:
        store = FileStore(self.path)
        store.load()
        store.apply([put("a", b"1")])
        journal = store._journal
        assert journal is not None
        real = journal._file
        # A descriptor that cannot be written to, as on a file system that turned read-only.
        journal._file = os.open(self.path / "journal", os.O_RDONLY)
        self.assertRaises(OSError, store.apply, [put("b", b"2")])
        os.close(journal._file)
        journal._file = real
        self.assertEqual(self.find(self.crashed_copy()), {("a",): b"1"})
        store.apply([put("c", b"3")])
        self.assertEqual(self.find(self.crashed_copy()), {("a",): b"1", ("c",): b"3"})

    def test_nothing_is_acknowledged_before_it_is_synced(self) -> None:
        calls: list[str] = []
        for name in ("pwrite", "fdatasync", "fsync", "rename", "ftruncate"):
            real = getattr(os, name)

            def note(*arguments: Any, real: Any = real, name: str = name) -> Any:
                calls.append(name)
                return real(*arguments)

            self.patch(os, name, note)
        store = FileStore(self.path)
        store.load()
        self.assertEqual(calls, ["fsync"])  # the journal's name
        calls.clear()
        store.apply([put("a", b"1")])
        self.assertEqual(calls, ["ftruncate", "pwrite", "pwrite", "fdatasync"])
        calls.clear()
        store.close()
        # The file, its name, every new directory, and only then the journal's end.
        self.assertEqual(calls, ["fdatasync", "rename", "fsync", "fsync", "fsync", "ftruncate", "fsync"])

    def test_one_process_at_a_time(self) -> None:
        store = FileStore(self.path)
        store.load()
        self.assertRaises(StoreInUse, FileStore(self.path).load)
        store.close()
        self.assertEqual(self.find(), {})

    def test_a_disk_that_comes_back(self) -> None:
        self.path.parent.mkdir(exist_ok=True, parents=True)
        self.path.write_text("a file in the way")
        store = FileStore(self.path)
        self.assertRaises(OSError, store.apply, [put("a", b"1")])
        self.path.unlink()
        store.apply([put("b", b"2")])
        store.close()
        self.assertEqual(self.find(), {("b",): b"2"})

    def test_a_person_can_find_an_object(self) -> None:
        store = FileStore(self.path)
        store.load()
        key = ("cert:system:node:edge-1", "", "v1", "pods", "application/json", "default", "web-0")
        store.apply([Change("object", key, b"{}")])
        store.close()
        path = self.path / "tree/object/cert:system:node:edge-1/_/v1/pods/application%2Fjson/default/web-0"
        self.assertTrue(path.read_bytes().endswith(b"\n{}"))


class FileNameTests(SynchronousTestCase):
    @settings(max_examples=300)
    @given(st.text(max_size=300), st.text(max_size=300))
    def test_names_are_safe_and_differ(self, one: str, other: str) -> None:
        for name in (file_name(one), file_name(other)):
            self.assertNotIn("/", name)
            self.assertNotIn("\0", name)
            self.assertFalse(name.startswith("."))
            self.assertTrue(0 < len(name.encode()) <= 240)
        self.assertEqual(one == other, file_name(one) == file_name(other))
