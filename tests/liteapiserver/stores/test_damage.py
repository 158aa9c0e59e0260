"""Bytes that changed on the disk: what they belong to is dropped alone, and nothing false is ever read."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from unittest import mock

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from superedge.interfaces import Change
from superedge.liteapiserver.stores import file, journal, sqlite
from superedge.liteapiserver.stores.file import FileStore
from superedge.liteapiserver.stores.sqlite import SqliteStore

Found = dict[tuple[str, ...], bytes]
COUNT = 30


def wanted(count: int = COUNT) -> Found:
    return {(f"name-{number}",): b"%d " % number * 60 for number in range(count)}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)


class DamageCase(SynchronousTestCase):
    store: type[FileStore] | type[SqliteStore]

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        store = self.store(self.path)
        store.load()
        store.apply([Change("object", key, value) for key, value in wanted().items()])
        store.close()

    def find(self, path: Path) -> Found:
        store = self.store(path)
        found = {entry.key: entry.value for entry in store.load()}
        store.close()
        return found

    def copy(self) -> Path:
        copy = self.path.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.path, copy)
        return copy


class FileDamageTests(DamageCase):
    store = FileStore

    def test_every_record_alone(self) -> None:
        names = sorted(path.relative_to(self.path) for path in (self.path / "tree").rglob("name-*"))
        self.assertEqual(len(names), COUNT)
        for number, name in enumerate(names):
            copy = self.copy()
            size = (copy / name).stat().st_size
            flip(copy / name, number * size // COUNT)
            (fault,) = file.inspect(str(copy), {}).faults
            self.assertIn(str(name), fault)
            kept = wanted()
            del kept[(name.name,)]
            self.assertEqual(self.find(copy), kept)
            self.assertEqual(file.inspect(str(copy), {}).faults, [])

    def test_the_journal_goes_back_to_before_the_damage(self) -> None:
        store = FileStore(self.path)
        store.load()
        states = [wanted()]
        for number in range(5):
            key = (f"name-{number}",)
            store.apply([Change("object", key, b"new")])
            states.append({**states[-1], key: b"new"})
        crashed = self.copy()
        store.close()
        data = (crashed / "journal").read_bytes()
        for at in range(0, len(data), 3):
            copy = self.path.with_name("flipped")
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(crashed, copy)
            flip(copy / "journal", at)
            self.assertEqual(len(file.inspect(str(copy), {}).faults), 1)
            self.assertIn(self.find(copy), states)

    def test_a_batch_in_the_format_of_another_version(self) -> None:
        """What comes before it is read, and the store goes on from there."""
        key = ("name-0",)
        for batch in ({"version": 2}, [["object", key]], [["object", key, "text"]], [[1, key, b""]], 7):
            copy = self.copy()
            store = FileStore(copy)
            store.load()
            store.apply([Change("object", key, b"known")])
            other = mock.Mock(encode=mock.Mock(return_value=msgspec.msgpack.encode(batch)))
            with mock.patch.object(journal, "_encoder", other):
                store.apply([])
            crashed = copy.with_name("crashed")
            shutil.rmtree(crashed, ignore_errors=True)
            shutil.copytree(copy, crashed)
            store.close()
            self.assertEqual(len(file.inspect(str(crashed), {}).faults), 1)
            store = FileStore(crashed)
            self.assertEqual({each.key: each.value for each in store.load()}, {**wanted(), key: b"known"})
            store.apply([Change("object", key, b"new")])
            store.close()
            self.assertEqual(self.find(crashed), {**wanted(), key: b"new"})

    def test_a_journal_that_cannot_be_read_holds_no_descriptors(self) -> None:
        descriptors = len(os.listdir("/proc/self/fd"))
        with mock.patch.object(journal.Journal, "read", side_effect=OSError(5, "Input/output error")):
            for _ in range(3):
                FileStore(self.path).load()
        self.assertEqual(len(os.listdir("/proc/self/fd")), descriptors)

    def test_empty_directories_are_collected(self) -> None:
        store = FileStore(self.path)
        store.load()
        store.apply([Change("object", ("deep", "er", "one"), b"x")])
        store.close()
        store = FileStore(self.path)
        store.load()
        store.apply([Change("object", ("deep", "er", "one"), None)])
        store.close()
        self.assertFalse((self.path / "tree" / "object" / "deep").exists())
        self.assertEqual(self.find(self.path), wanted())


class SqliteDamageTests(DamageCase):
    store = SqliteStore

    def test_every_record_alone(self) -> None:
        data = (self.path / "cache.sqlite").read_bytes()
        for key, value in wanted().items():
            copy = self.copy()
            flip(copy / "cache.sqlite", data.index(value) + 20)
            self.assertEqual(len(sqlite.inspect(str(copy), {}).faults), 1)
            kept = wanted()
            del kept[key]
            self.assertEqual(self.find(copy), kept)
            self.assertTrue((copy / "cache.damaged").exists())
            self.assertEqual(sqlite.inspect(str(copy), {}).faults, [])
            self.assertEqual(self.find(copy), kept)

    def test_the_table_of_another_version(self) -> None:
        (self.path / "cache.sqlite").unlink()
        with sqlite3.connect(self.path / "cache.sqlite") as database:
            database.execute("CREATE TABLE entries (kind TEXT, key BLOB, value BLOB)")
        database.close()
        self.assertEqual(self.find(self.path), {})
        store = SqliteStore(self.path)
        store.load()
        store.apply([Change("object", ("a",), b"1")])
        store.close()
        self.assertEqual(self.find(self.path), {("a",): b"1"})
        self.assertTrue((self.path / "cache.damaged").exists())

    def test_any_byte(self) -> None:
        size = (self.path / "cache.sqlite").stat().st_size
        lost = []
        for at in range(0, size, 97):
            copy = self.copy()
            flip(copy / "cache.sqlite", at)
            found = self.find(copy)
            self.assertLessEqual(found.items(), wanted().items(), f"byte {at}")
            lost.append(COUNT - len(found))
        # Only what structures the file, its first page for one, costs more than what is on a page.
        self.assertLess(sum(1 for each in lost if each > 20), len(lost) // 8)

    def test_a_page_is_stepped_over(self) -> None:
        database = self.path / "cache.sqlite"
        store = SqliteStore(self.path)
        store.load()
        store.apply([Change("object", key, value) for key, value in wanted(600).items()])
        store.close()
        data = bytearray(database.read_bytes())
        value = wanted(600)[("name-300",)]
        start = data.index(value) // 4096 * 4096
        data[start : start + 4096] = b"\xff" * 4096
        database.write_bytes(data)
        found = self.find(self.path)
        self.assertLessEqual(found.items(), wanted(600).items())
        self.assertIn(("name-0",), found)
        self.assertIn(("name-599",), found)
        self.assertGreater(len(found), 500)
