"""A few rounds; tests/cluster/test_stores.py has hundreds."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from superedge.interfaces import Entry
from superedge.liteapiserver.stores.file import FileStore
from superedge.liteapiserver.stores.sqlite import SqliteStore
from tests.liteapiserver.stores.crash import crash_rounds

ROUNDS = 12


class CrashTests(SynchronousTestCase):
    def test_file(self) -> None:
        history = crash_rounds(
            lambda path: FileStore(path, journal_limit=20_000), Path(self.mktemp()), ROUNDS, "file"
        )
        self.assertGreater(history[-1], 0)

    def test_sqlite(self) -> None:
        history = crash_rounds(SqliteStore, Path(self.mktemp()), ROUNDS, "sqlite")
        self.assertGreater(history[-1], 0)

    def test_a_store_that_acknowledges_too_early_is_found_out(self) -> None:
        class Lying(FileStore):
            def apply(self, changes: object) -> None:
                self.held = getattr(self, "held", [])
                self.held.append(changes)
                if len(self.held) == 3:
                    for batch in self.held:
                        super().apply(batch)
                    self.held.clear()

        with self.assertRaises(AssertionError):
            crash_rounds(Lying, Path(self.mktemp()), 100, "lying")

    def test_a_store_that_tears_batches_is_found_out(self) -> None:
        class Tearing(FileStore):
            def apply(self, changes: object) -> None:
                for change in changes:  # type: ignore[attr-defined]
                    super().apply([change])

            def load(self) -> list[Entry]:
                return [entry for entry in super().load() if entry.kind == "object"]

        with self.assertRaises(AssertionError):
            crash_rounds(Tearing, Path(self.mktemp()), 100, "tearing")
