"""Hundreds of kill -9 at random instants; tests/liteapiserver/stores/test_crash.py has a few."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.stores.file import FileStore
from superedge.liteapiserver.stores.sqlite import SqliteStore
from tests.cluster.environment import SKIP
from tests.liteapiserver.stores.crash import crash_rounds

ROUNDS = 400


class StoreCrashTests(SynchronousTestCase):
    skip = SKIP

    def test_file(self) -> None:
        crash_rounds(FileStore, Path(self.mktemp()), ROUNDS, "file")

    def test_file_that_folds_often(self) -> None:
        crash_rounds(lambda path: FileStore(path, 20_000), Path(self.mktemp()), ROUNDS, "folding")

    def test_sqlite(self) -> None:
        crash_rounds(SqliteStore, Path(self.mktemp()), ROUNDS, "sqlite")
