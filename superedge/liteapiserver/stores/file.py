"""The file store: a journal of atomic batches, and a tree with one file for each record.

A batch is durable once it is in the journal. A checkpoint writes the journal's records to their files and
empties the journal; it happens when the journal is long and another batch comes, and when the store is
closed. After a crash during a checkpoint the journal is applied to the tree once more, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from twisted.logger import Logger

from superedge.errors import StoreLost
from superedge.interfaces import Change, Entry, Inspection, IReactor
from superedge.liteapiserver.stores.directory import Directory
from superedge.liteapiserver.stores.journal import Journal, Records, read_records, value_of
from superedge.liteapiserver.stores.threads import ThreadedStore, load_read_only
from superedge.liteapiserver.stores.tree import Tree, is_unfinished, sync_directory

JOURNAL_LIMIT = 8 * 1024 * 1024
"""Bytes of a journal from which the next batch causes a checkpoint."""
_TRIES = 10

_log = Logger()


class FileStore:
    """Blocking; `ThreadedStore` is the `ICacheStore` around it."""

    def __init__(self, root: Path, journal_limit: int = JOURNAL_LIMIT) -> None:
        self._root = root
        self._limit = journal_limit
        self._directory = Directory(root)
        self._journal: Journal | None = None
        self._tree = Tree(root / "tree")

    def load(self) -> list[Entry]:
        """Open the directory and read everything. Raises OSError, StoreInUse, NotPrivate."""
        try:
            journaled = self._open()
        except OSError as problem:
            return load_read_only(inspect, self._root, problem)
        return _overlay(self._tree.read(), journaled)

    def _open(self) -> Records:
        """Open lock and journal if they are not open; returns the journal's records."""
        if self._journal is not None:
            return self._journal.read()
        self._directory.acquire()
        try:
            journal = Journal(self._root / "journal")
            try:
                sync_directory(self._root)  # the journal may be new
                journaled = journal.read()
            except OSError:
                journal.close()
                raise
        except OSError:
            self._directory.release()
            raise
        self._journal = journal
        for name in ("journal", "tree"):
            self._directory.track(name)
        return journaled

    def apply(self, changes: Sequence[Change]) -> None:
        """Make one batch durable. Raises OSError."""
        if self._journal is None:
            self._open()  # a disk may come back
        journal = cast(Journal, self._journal)
        if journal.size > self._limit:
            # Before the batch and not after the previous one, which would stay in memory meanwhile.
            try:
                self._checkpoint(journal)
            except OSError as problem:
                # Acknowledged batches are safe in the journal.
                _log.error("the cache's journal cannot be written to the tree: {problem}", problem=problem)
        journal.append(changes)

    def _checkpoint(self, journal: Journal) -> None:
        if journal.size:
            self._tree.write((key, value_of(record)) for key, record in journal.read().items())
            self._directory.track("tree")
            journal.clear()

    def check(self) -> None:
        """Check that the files still exist. Raises StoreLost; then they are released."""
        try:
            self._directory.check()
        except StoreLost:
            journal, self._journal = self._journal, None
            if journal is not None:
                journal.close()
            self._directory.release()
            raise

    def close(self) -> None:
        """Make a checkpoint and release the directory. Raises OSError if that failed; nothing is lost."""
        journal, self._journal = self._journal, None
        if journal is None:
            return
        try:
            self._checkpoint(journal)
        finally:
            journal.close()
            self._directory.release()


def _overlay(entries: Iterable[Entry], journaled: Records) -> list[Entry]:
    """The tree's records, replaced by those of the journal."""
    found = {(entry.kind, entry.key): entry for entry in entries}
    for (kind, key), record in journaled.items():
        value = value_of(record)
        if value is None:
            found.pop((kind, key), None)
        else:
            found[kind, key] = Entry(kind, key, value)
    return list(found.values())


def create(reactor: IReactor, path: str, _options: Mapping[str, Any]) -> ThreadedStore:
    """Implements `ICacheStorePlugin.create`."""
    return ThreadedStore(reactor, FileStore(Path(path)))


def inspect(path: str, _options: Mapping[str, Any]) -> Inspection:
    """Implements `ICacheStorePlugin.inspect`: reads the directory, locked or not."""
    root = Path(path)
    journal = root / "journal"
    for _ in range(_TRIES):
        before = journal.read_bytes()
        scanned = list(Tree(root / "tree").scan())
        data = journal.read_bytes()
        if data.startswith(before):
            break  # no checkpoint happened meanwhile
    journaled, end = read_records(data)
    faults = [
        f"{file}: {found}"
        for file, found in scanned
        if not isinstance(found, Entry) and not is_unfinished(file)
    ]
    if end < len(data):
        faults.append(f"{journal}: {len(data) - end} bytes from {end} on are torn or damaged")
    return Inspection(
        _overlay((found for _, found in scanned if isinstance(found, Entry)), journaled), faults
    )
