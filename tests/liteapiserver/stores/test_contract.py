from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from superedge.interfaces import ICacheStore, ICacheStorePlugin, Inspection
from superedge.liteapiserver.stores.file import FileStore
from superedge.liteapiserver.stores.threads import ThreadedStore
from superedge.plugin import find_plugin
from superedge.testing.contracts.cachestore import CacheStoreContract

installed: Any = reactor


def inspect(name: str, path: str) -> Inspection:
    found: Inspection = find_plugin(ICacheStorePlugin, name, "store").inspect(path, {})
    return found


class FileTests(CacheStoreContract, TestCase):
    def inspect(self, path: str) -> Inspection:
        return inspect("file", path)

    def open(self, path: str) -> ICacheStore:
        store: ICacheStore = find_plugin(ICacheStorePlugin, "file", "store").create(installed, path, {})
        return store


class FoldingFileTests(CacheStoreContract, TestCase):
    """Folds the journal before every batch."""

    def inspect(self, path: str) -> Inspection:
        return inspect("file", path)

    def open(self, path: str) -> ICacheStore:
        return ThreadedStore(installed, FileStore(Path(path), journal_limit=0))


class SqliteTests(CacheStoreContract, TestCase):
    def inspect(self, path: str) -> Inspection:
        return inspect("sqlite", path)

    def open(self, path: str) -> ICacheStore:
        store: ICacheStore = find_plugin(ICacheStorePlugin, "sqlite", "store").create(installed, path, {})
        return store


class MemoryTests(CacheStoreContract, TestCase):
    durable = False

    def inspect(self, path: str) -> Inspection:
        return inspect("memory", path)

    def open(self, path: str) -> ICacheStore:
        store: ICacheStore = find_plugin(ICacheStorePlugin, "memory", "store").create(installed, path, {})
        return store
