"""A full disk and one that turned read-only, each a small tmpfs."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from superedge.interfaces import Change, Entry
from superedge.liteapiserver import metrics
from superedge.liteapiserver.cache.committer import RETRY, Committer
from superedge.liteapiserver.stores.file import FileStore
from superedge.liteapiserver.stores.sqlite import SqliteStore
from superedge.liteapiserver.stores.threads import BlockingStore

_READ_ONLY, _REMOUNT, _DETACH = 1, 32, 2
_libc = ctypes.CDLL(None, use_errno=True)


def mount(path: Path, options: str = "", flags: int = 0) -> None:
    if _libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", flags, options.encode()):
        raise SkipTest(f"no tmpfs can be mounted here: {os.strerror(ctypes.get_errno())}")


class Immediate:
    """An `ICacheStore` around a blocking one, without threads."""

    def __init__(self, store: BlockingStore) -> None:
        self._store = store

    async def load(self) -> list[Entry]:
        return self._store.load()

    async def apply(self, changes: Any) -> None:
        self._store.apply(changes)

    async def close(self) -> None:
        self._store.close()


class DiskCase(SynchronousTestCase):
    make: type[FileStore] | type[SqliteStore]

    def setUp(self) -> None:
        self.disk = Path(self.mktemp()).absolute()
        self.disk.mkdir(parents=True)
        mount(self.disk, "size=1m,mode=700")
        self.addCleanup(_libc.umount2, os.fsencode(self.disk), _DETACH)
        self.path = self.disk / "cache"

    def set_read_only(self, load_read_only: bool) -> None:
        mount(self.disk, "", _REMOUNT | (_READ_ONLY if load_read_only else 0))

    def fill(self) -> Path:
        """Take all the room there is."""
        filler = self.disk / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (65536, 4096):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue
        return filler

    def find(self) -> dict[tuple[str, ...], bytes]:
        store = self.make(self.path)
        try:
            return {entry.key: entry.value for entry in store.load()}
        finally:
            store.close()


class _Tests(DiskCase):
    def test_full_and_with_room_again(self) -> None:
        store = self.make(self.path)
        store.load()
        store.apply([Change("object", ("before",), b"1" * 1000)])
        filler = self.fill()
        with self.assertRaises(OSError):
            for number in range(1000):
                store.apply([Change("object", (f"{number}",), b"2" * 5000)])
        filler.unlink()
        store.apply([Change("object", ("after",), b"3")])
        store.close()
        found = self.find()
        self.assertEqual((found[("before",)], found[("after",)]), (b"1" * 1000, b"3"))
        # What was refused is not there in part.
        self.assertEqual(
            {len(value) for value in found.values()} - {1000, 1}, {5000} if len(found) > 2 else set()
        )

    def test_full_at_the_start(self) -> None:
        self.fill()
        store = self.make(self.path)
        with self.assertRaises(OSError):
            store.load()
            store.apply([Change("object", ("a",), b"1" * 5000)])
        (self.disk / "filler").unlink()
        store.load()
        store.apply([Change("object", ("a",), b"1")])
        store.close()
        self.assertEqual(self.find(), {("a",): b"1"})

    def leave(self, orderly: bool) -> None:
        """A process writes one record, and ends in an orderly way or by kill -9."""
        child = os.fork()
        if child == 0:
            try:
                store = self.make(self.path)
                store.load()
                store.apply([Change("object", ("a",), b"1")])
                if orderly:
                    store.close()
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)

    def test_read_only_at_the_start(self) -> None:
        for orderly in (True, False):
            self.leave(orderly)
            self.set_read_only(True)
            store = self.make(self.path)
            self.assertEqual({entry.key: entry.value for entry in store.load()}, {("a",): b"1"})
            with self.assertRaises(OSError):
                store.apply([Change("object", ("b",), b"2")])
            self.set_read_only(False)
            store.apply([Change("object", ("c",), b"3")])
            store.apply([Change("object", ("c",), None)])
            store.close()
            self.assertEqual(self.find(), {("a",): b"1"})

    def test_degraded_to_memory_and_back(self) -> None:
        self.leave(True)
        self.set_read_only(True)
        clock = Clock()
        committer = Committer(clock, Immediate(self.make(self.path)), 0.05)  # type: ignore[arg-type]
        gauge: Any = metrics.STORE_DEGRADED
        committer.loaded([Entry("object", ("a",), b"1")])
        committer.add("object", ("b",), b"2")
        clock.advance(0.05)
        self.assertEqual(gauge._value.get(), 1)
        self.assertTrue(committer.degraded)
        committer.add("object", ("a",), None)
        clock.advance(RETRY)
        self.assertEqual(committer.pending, 2)
        self.set_read_only(False)
        clock.advance(RETRY)
        self.assertEqual((gauge._value.get(), committer.degraded, committer.pending), (0, "", 0))
        self.successResultOf(Deferred.fromCoroutine(committer.close()))
        self.assertEqual(self.find(), {("b",): b"2"})

    def test_a_store_that_could_not_be_read_is_emptied(self) -> None:
        """What it held must not join what came since."""
        self.leave(True)
        clock = Clock()
        committer = Committer(clock, Immediate(self.make(self.path)), 0.05)  # type: ignore[arg-type]
        committer.load_failed(OSError("the disk was not there"))
        committer.add("object", ("b",), b"2")
        clock.advance(RETRY)
        self.assertEqual((committer.degraded, committer.pending), ("", 0))
        self.successResultOf(Deferred.fromCoroutine(committer.close()))
        self.assertEqual(self.find(), {("b",): b"2"})


class FileDiskTests(_Tests):
    make = FileStore


class SqliteDiskTests(_Tests):
    make = SqliteStore


del _Tests, DiskCase
