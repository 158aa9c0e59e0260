"""The suite that every cache store passes, an operator's own included.

Mix `CacheStoreContract` into a trial `TestCase` and give it `open` and `inspect`:

    class MyStoreTests(CacheStoreContract, TestCase):
        def open(self, path): return my_plugin.create(reactor, path, {})
        def inspect(self, path): return my_plugin.inspect(path, {})
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from superedge.errors import StoreLost
from superedge.interfaces import Change, Entry, ICacheStore, Inspection

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Case
else:
    _Case = object

Key = tuple[str, ...]


def put(key: Key, value: bytes, kind: str = "object") -> Change:
    """A change that stores a record."""
    return Change(kind, key, value)


def delete(key: Key, kind: str = "object") -> Change:
    """A change that deletes a record."""
    return Change(kind, key, None)


class CacheStoreContract(_Case):
    """Set ``durable`` to False for a store that is meant to forget."""

    durable = True

    def open(self, path: str) -> ICacheStore:
        """A store under the directory ``path``, not yet loaded."""
        raise NotImplementedError

    def inspect(self, path: str) -> Inspection:
        """What the plugin's `inspect` says of the directory."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A directory that does not exist yet."""
        self.path = self.mktemp()

    def run_(self, coroutine: object) -> Deferred[None]:
        """Trial waits for the coroutine's end."""
        return Deferred.fromCoroutine(coroutine)  # type: ignore[arg-type]

    async def reopened(self) -> dict[tuple[str, Key], bytes]:
        """What another process would find."""
        store = self.open(self.path)
        entries: Sequence[Entry] = await store.load()
        await store.close()
        return {(entry.kind, entry.key): entry.value for entry in entries}

    async def fill(self, *batches: Sequence[Change]) -> dict[tuple[str, Key], bytes]:
        """Apply batches in one life, close, and find again."""
        store = self.open(self.path)
        await store.load()
        for batch in batches:
            await store.apply(batch)
        await store.close()
        return await self.reopened()

    def expect(self, found: dict[tuple[str, Key], bytes], wanted: dict[tuple[str, Key], bytes]) -> None:
        """What is found is what was stored, or nothing for a store that forgets."""
        self.assertEqual(found, wanted if self.durable else {})

    def test_a_new_store_is_empty(self) -> Deferred[None]:
        """Nothing is there, and closing is fine."""

        async def check() -> None:
            self.assertEqual(await self.fill(), {})

        return self.run_(check())

    def test_records_come_back(self) -> Deferred[None]:
        """Any bytes, of any length, none included."""

        async def check() -> None:
            values = {("a",): b"", ("b",): b"x" * 300_000, ("c",): bytes(range(256)), ("d",): b"\n\r\n{}"}
            found = await self.fill([put(key, value) for key, value in values.items()])
            self.expect(found, {("object", key): value for key, value in values.items()})

        return self.run_(check())

    def test_the_latest_counts(self) -> Deferred[None]:
        """Within a batch and across batches."""

        async def check() -> None:
            found = await self.fill(
                [put(("a",), b"1"), put(("a",), b"2"), put(("b",), b"1"), delete(("b",))],
                [put(("a",), b"3"), put(("c",), b"1")],
                [delete(("c",)), delete(("never",))],
            )
            self.expect(found, {("object", ("a",)): b"3"})

        return self.run_(check())

    def test_kinds_and_keys_do_not_collide(self) -> Deferred[None]:
        """Nor do parts that a file system would take for something else."""

        async def check() -> None:
            keys: list[Key] = [
                ("a", "b"),
                ("a/b", ""),
                ("", "a"),
                ("_", "a"),
                ("..", ".."),
                (".", "x"),
                ("ä", "ß"),
                ("a\nb", "c\0d"),
                ("A", "B"),
                ("x" * 500, "y"),
                ("x" * 501, "y"),
                ("x" * 253, "x" * 252 + "y"),
                ("x" * 255, "ä" * 255),
                ("ä" * 255, "ä" * 254 + "ö"),
                ("%2E", "%"),
                ("..%2f..", "a//b"),
                ("/", "//"),
                ("con", "a:b*c?d|e"),
                ("~", "a~b"),
                ("cert:system:node:edge-1", "10.0.0.1"),
            ]
            batch = [put(key, repr(key).encode(), kind) for key in keys for kind in ("object", "view")]
            found = await self.fill(batch)
            self.expect(found, {(change.kind, change.key): change.value or b"" for change in batch})

        return self.run_(check())

    def test_names_that_are_also_used_for_something_else(self) -> Deferred[None]:
        """What a store may call its own files, beside the names these are made of, through several lives."""

        async def check() -> None:
            names = ["x", "X", "y.z", "lock", "journal", "tree", "cache.sqlite", "token.key", "-", "x.", " "]
            ends = [".new", ".tmp", ".part", ".bak", "~", ".lock", "-wal", ".new.new"]
            names += [name + end for name in ("x", "y.z", ".") for end in ends]
            names += ["." + name for name in ("x", "x.new", "..", "tmp")]
            wanted: dict[tuple[str, Key], bytes] = {
                ("object", ("default", name)): name.encode() for name in names
            }
            batch = [put(key, value) for (_, key), value in wanted.items()]
            self.expect(await self.fill(batch), wanted)
            self.expect(await self.reopened(), wanted)
            for name in ("x", "x.new", ".x"):
                del wanted["object", ("default", name)]
                self.expect(await self.fill([delete(("default", name))]), wanted)
                self.expect(await self.reopened(), wanted)

        return self.run_(check())

    def test_a_directory_that_is_removed(self) -> Deferred[None]:
        """It is noticed, and the store begins anew in a new one."""

        async def check() -> None:
            store = self.open(self.path)
            await store.load()
            await store.apply([put(("a",), b"1"), put(("b",), b"1")])
            await store.check()
            if self.durable:
                shutil.rmtree(self.path)
                with self.assertRaises(StoreLost):
                    await store.check()
            await store.check()
            self.assertEqual(list(await store.load()), [])
            await store.apply([put(("b",), b"2")])
            await store.check()
            await store.close()
            self.expect(await self.reopened(), {("object", ("b",)): b"2"})

        return self.run_(check())

    def test_many_lives(self) -> Deferred[None]:
        """Each finds what the ones before left."""

        async def check() -> None:
            wanted: dict[tuple[str, Key], bytes] = {}
            for life in range(5):
                store = self.open(self.path)
                await store.load()
                await store.apply([put((str(life),), b"x"), delete((str(life - 2),))])
                await store.close()
                wanted["object", (str(life),)] = b"x"
                wanted.pop(("object", (str(life - 2),)), None)
                self.expect(await self.reopened(), wanted)

        return self.run_(check())

    def test_large_batches(self) -> Deferred[None]:
        """Hundreds of records, changed again and again."""

        async def check() -> None:
            batches = [
                [put((str(number),), b"%d" % turn * 50) for number in range(turn, 400)] for turn in range(3)
            ]
            found = await self.fill(*batches)
            wanted: dict[tuple[str, Key], bytes] = {
                ("object", (str(number),)): b"%d" % min(number, 2) * 50 for number in range(400)
            }
            self.expect(found, wanted)

        return self.run_(check())

    def test_inspection(self) -> Deferred[None]:
        """Another process sees the same beside an open store and after it was closed, and changes nothing."""

        async def check() -> None:
            store = self.open(self.path)
            await store.load()
            await store.apply([put(("a",), b"1"), put(("b",), b"2"), delete(("b",)), put(("c",), b"3")])
            for closed in (False, True):
                if closed:
                    await store.close()
                found = self.inspect(self.path)
                self.assertEqual(list(found.faults), [])
                seen = {(entry.kind, entry.key): entry.value for entry in found.entries}
                self.expect(seen, {("object", ("a",)): b"1", ("object", ("c",)): b"3"})
            self.expect(await self.reopened(), seen)

        return self.run_(check())

    def test_inspecting_nothing(self) -> Deferred[None]:
        """A store that was never there is no empty one."""

        async def check() -> None:
            if self.durable:
                with self.assertRaises(OSError):
                    self.inspect(self.path)

        return self.run_(check())
