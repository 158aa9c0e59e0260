"""The file store: a journal that makes batches atomic, and a tree of files that it is folded into.

A batch is durable once it is in the journal. When the journal is long and another batch comes, or the store
is closed, every record it holds goes to its own file and the journal begins anew; after a crash in between
the journal is read over the tree again, which changes nothing.
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
"""Bytes of a journal that is folded into the tree."""
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
        """Open lock and journal when they are not yet; what the journal holds."""
        if self._journal is not None:
            return self._journal.read()
        self._directory.acquire()
        try:
            journal = Journal(self._root / "journal")
            sync_directory(self._root)  # the journal may be new
            journaled = journal.read()
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
            # Not behind the batch that made it long, which would be held in memory for so long.
            try:
                self._checkpoint(journal)
            except OSError as problem:
                # What was acknowledged is safe in the journal.
                _log.error("the cache's journal cannot be folded: {problem}", problem=problem)
        journal.append(changes)

    def _checkpoint(self, journal: Journal) -> None:
        if journal.size:
            self._tree.write((key, value_of(record)) for key, record in journal.read().items())
            self._directory.track("tree")
            journal.clear()

    def check(self) -> None:
        """See whether the files are still there. Raises StoreLost; then they are released."""
        try:
            self._directory.check()
        except StoreLost:
            journal, self._journal = self._journal, None
            if journal is not None:
                journal.close()
            self._directory.release()
            raise

    def close(self) -> None:
        """Fold the journal and release the directory. Raises OSError when folding failed; nothing is lost."""
        journal, self._journal = self._journal, None
        if journal is None:
            return
        try:
            self._checkpoint(journal)
        finally:
            journal.close()
            self._directory.release()


def _overlay(entries: Iterable[Entry], journaled: Records) -> list[Entry]:
    """The tree's records, and the journal's over them."""
    found = {(entry.kind, entry.key): entry for entry in entries}
    for (kind, key), record in journaled.items():
        value = value_of(record)
        if value is None:
            found.pop((kind, key), None)
        else:
            found[kind, key] = Entry(kind, key, value)
    return list(found.values())


def create(reactor: IReactor, path: str, _options: Mapping[str, Any]) -> ThreadedStore:
    """For the plugin."""
    return ThreadedStore(reactor, FileStore(Path(path)))


def inspect(path: str, _options: Mapping[str, Any]) -> Inspection:
    """For the plugin: reads the directory as it is, locked or not."""
    root = Path(path)
    journal = root / "journal"
    for _ in range(_TRIES):
        before = journal.read_bytes()
        scanned = list(Tree(root / "tree").scan())
        data = journal.read_bytes()
        if data.startswith(before):
            break  # it was not folded into the tree meanwhile
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
