from __future__ import annotations

import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from superedge.interfaces import Change
from superedge.liteapiserver.stores.directory import StoreInUse
from superedge.liteapiserver.stores.sqlite import SqliteStore

Found = dict[tuple[str, ...], bytes]


def put(name: str, value: bytes) -> Change:
    return Change("object", (name,), value)


class SqliteStoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def find(self, path: Path | None = None) -> Found:
        store = SqliteStore(path or self.path)
        found = {entry.key: entry.value for entry in store.load()}
        store.close()
        return found

    def fill(self, count: int) -> None:
        store = SqliteStore(self.path)
        store.load()
        store.apply([put(str(number), b"x" * 500) for number in range(count)])
        store.close()

    def test_a_batch_is_durable_at_once(self) -> None:
        store = SqliteStore(self.path)
        store.load()
        store.apply([put("a", b"1"), put("b", b"2")])
        copy = Path(self.mktemp())
        shutil.copytree(self.path, copy)
        self.assertEqual(self.find(copy), {("a",): b"1", ("b",): b"2"})
        store.close()

    def test_a_batch_that_fails_leaves_nothing(self) -> None:
        store = SqliteStore(self.path)
        store.load()
        no_text = put("\udcff", b"2")
        self.assertRaises(UnicodeEncodeError, store.apply, [put("a", b"1"), no_text])
        store.apply([put("c", b"3")])
        store.close()
        self.assertEqual(self.find(), {("c",): b"3"})

    def test_nobody_else_may_read(self) -> None:
        store = SqliteStore(self.path)
        store.load()
        store.apply([put("secret", b"1")])
        for path in [self.path, *self.path.rglob("*")]:
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)
        store.close()

    def test_nothing_is_acknowledged_before_it_is_synced(self) -> None:
        store = SqliteStore(self.path)
        store.load()
        assert store._database is not None
        full, write_ahead = 2, "wal"
        self.assertEqual(store._database.execute("PRAGMA synchronous").fetchone()[0], full)
        self.assertEqual(store._database.execute("PRAGMA journal_mode").fetchone()[0], write_ahead)
        store.close()

    def test_one_process_at_a_time(self) -> None:
        store = SqliteStore(self.path)
        store.load()
        self.assertRaises(StoreInUse, SqliteStore(self.path).load)
        store.close()
        self.assertEqual(self.find(), {})

    def test_what_is_no_database(self) -> None:
        self.path.mkdir()
        (self.path / "cache.sqlite").write_bytes(b"this is no database, by any means" * 100)
        self.assertEqual(self.find(), {})
        self.assertTrue((self.path / "cache.damaged").exists())
        self.fill(3)
        self.assertEqual(len(self.find()), 3)

    def test_a_database_with_damaged_pages(self) -> None:
        self.fill(500)
        database = self.path / "cache.sqlite"
        data = bytearray(database.read_bytes())
        middle = len(data) // 2 // 4096 * 4096
        data[middle : middle + 8192] = b"\xff" * 8192
        database.write_bytes(data)
        found = self.find()
        self.assertLess(len(found), 500)
        self.assertTrue(all(value == b"x" * 500 for value in found.values()))
        self.fill(500)
        self.assertEqual(len(self.find()), 500)
