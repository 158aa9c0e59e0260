from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from superedge.errors import StoreLost
from superedge.interfaces import Change
from superedge.liteapiserver.stores.directory import Directory, NotPrivate
from superedge.liteapiserver.stores.file import FileStore
from superedge.liteapiserver.stores.sqlite import SqliteStore

BATCH = [Change("object", ("a",), b"1")]


class PrivateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()

    @property
    def mode(self) -> int:
        return self.path.stat().st_mode & 0o7777

    def test_one_that_is_open_is_narrowed(self) -> None:
        for mode in (0o755, 0o777, 0o750, 0o701, 0o1777):
            for make in (FileStore, SqliteStore):
                for held in (False, True):
                    store = make(self.path)
                    self.path.chmod(mode)
                    store.load()
                    self.assertEqual(self.mode, mode & 0o7700, (mode, make, held))
                    store.apply(BATCH)
                    store.close()

    def test_one_with_other_things_in_it_is_refused(self) -> None:
        """A system's directory must not be closed, and what somebody else put there not be believed."""
        (self.path / "passwd").touch()
        self.path.chmod(0o755)
        for make in (FileStore, SqliteStore):
            for call in (lambda store: store.load(), lambda store: store.apply(BATCH)):
                problem = self.assertRaises(NotPrivate, call, make(self.path))
                self.assertIn("holds passwd", str(problem))
        self.assertEqual((self.mode, os.listdir(self.path)), (0o755, ["passwd"]))
        (self.path / "passwd").rename(self.path / "journal")
        self.patch(os, "geteuid", lambda: 12345)
        self.assertIn("holds journal", str(self.assertRaises(NotPrivate, FileStore(self.path).load)))
        self.path.chmod(0o700)
        FileStore(self.path).load()

    def test_one_of_another_user(self) -> None:
        self.path.chmod(0o755)

        def refuse(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(Path, "chmod", refuse)
        problem = self.assertRaises(NotPrivate, Directory(self.path).acquire)
        self.assertIn("belongs to another user", str(problem))


class LostTests(SynchronousTestCase):
    def test_what_is_replaced_is_lost_too(self) -> None:
        """By the same file from a backup, for one; only what is in use counts."""
        for make, names in ((FileStore, ("lock", "journal", "tree")), (SqliteStore, ("cache.sqlite-wal",))):
            for name in names:
                path = Path(self.mktemp())
                first = make(path)
                first.load()
                first.apply(BATCH)
                first.close()
                store = make(path)
                store.load()
                store.apply(BATCH)
                (path / "other").touch()
                store.check()
                (path / "other").unlink()
                (path / name).rename(path / "aside")
                self.assertRaises(StoreLost, store.check)
                store.load()
                store.check()
                store.close()
