"""The SQLite store: one table, a write-ahead log, a transaction for each batch, a checksum for each record.

A damaged database is renamed to ``cache.damaged``; the records that can be read go into a new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
from twisted.logger import Logger

from superedge.errors import StoreLost
from superedge.interfaces import Change, Entry, Inspection, IReactor
from superedge.kube.errors import JSON_FAULTS
from superedge.liteapiserver import metrics
from superedge.liteapiserver.stores.directory import Directory
from superedge.liteapiserver.stores.keys import Key, interned
from superedge.liteapiserver.stores.threads import ThreadedStore, load_read_only

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS entries "
    "(kind TEXT, key BLOB, value BLOB, digest BLOB, PRIMARY KEY (kind, key))"
)
_PUT = (
    "INSERT INTO entries VALUES (?, ?, ?, ?) "
    "ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, digest = excluded.digest"
)
_DELETE = "DELETE FROM entries WHERE kind = ? AND key = ?"
_FROM = "SELECT rowid, kind, key, value, digest FROM entries WHERE rowid >= ? ORDER BY rowid"
_COLUMNS = ["kind", "key", "value", "digest"]
_NAME = "cache.sqlite"
_DURABLE = ("", "-wal")
_BESIDE = ("", "-wal", "-shm")
_LONGEST_STEP = 1024

_log = Logger()
_key = msgspec.json.Decoder(Key)


def _digest(kind: str, key: bytes, value: bytes) -> bytes:
    hash_ = blake2b(kind.encode(), digest_size=16)
    hash_.update(key)
    hash_.update(value)
    return hash_.digest()


class SqliteStore:
    """Blocking; `ThreadedStore` is the `ICacheStore` around it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / _NAME
        self._directory = Directory(root)
        self._database: sqlite3.Connection | None = None

    def load(self) -> list[Entry]:
        """Open the database and read everything. Raises OSError, StoreInUse, NotPrivate."""
        try:
            database = self._open()
            with _as_os_error():
                entries, faults = _read(database)
        except _Damaged as problem:
            entries, faults = [], [str(problem)]
        except OSError as problem:
            return load_read_only(inspect, self._root, problem)
        if faults:
            self._rebuild(entries, faults)
        return entries

    def _open(self) -> sqlite3.Connection:
        if self._database is not None:
            return self._database
        self._directory.acquire()
        # SQLite gives its other files the same permissions.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with _as_os_error():
            # Threads use it one at a time, but not always the same thread.
            database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
                database.execute(_SCHEMA)
                columns = [row[1] for row in database.execute("PRAGMA table_info(entries)")]
                if columns != _COLUMNS:
                    raise _Damaged(f"its table has the columns {columns}: it is of another version")
            except BaseException:
                database.close()
                raise
        self._database = database
        for suffix in _DURABLE:
            self._directory.track(_NAME + suffix)
        return database

    def _rebuild(self, entries: Sequence[Entry], faults: Sequence[str]) -> None:
        """Rename the damaged database, and write the readable entries to a new one."""
        metrics.CORRUPT_ENTRIES.inc(len(faults))
        _log.error("the damaged cache database is created again: {faults}", faults="; ".join(faults[:10]))
        self._close_database()
        for suffix in _BESIDE:
            path = self._path.with_name(self._path.name + suffix)
            if path.exists():
                path.rename(path.with_name(f"cache.damaged{suffix}"))
        self.apply([Change(entry.kind, entry.key, entry.value) for entry in entries])

    def apply(self, changes: Sequence[Change]) -> None:
        """Make one batch durable. Raises OSError."""
        try:
            self._apply(self._open(), changes)
        except _Damaged as problem:
            raise OSError(f"SQLite: {problem}") from problem

    def _apply(self, database: sqlite3.Connection, changes: Sequence[Change]) -> None:
        with _as_os_error():
            database.execute("BEGIN IMMEDIATE")
            try:
                for change in changes:
                    key = msgspec.json.encode(change.key)
                    if change.value is None:
                        database.execute(_DELETE, (change.kind, key))
                    else:
                        digest = _digest(change.kind, key, change.value)
                        database.execute(_PUT, (change.kind, key, change.value, digest))
                database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    database.execute("ROLLBACK")
                raise

    def _close_database(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()

    def check(self) -> None:
        """Check that the files still exist. Raises StoreLost; then they are released."""
        try:
            self._directory.check()
        except StoreLost:
            self.close()
            raise

    def close(self) -> None:
        """Release the files."""
        self._close_database()
        self._directory.release()


def _read(database: sqlite3.Connection) -> tuple[list[Entry], list[str]]:
    """The intact entries, and the faults. A page that cannot be read is skipped."""
    faults = _check(database)
    entries: list[Entry] = []
    at, step, last = 0, 1, _last_row(database)
    while True:
        try:
            for row, kind, key, value, digest in database.execute(_FROM, (at,)):
                at, step = row + 1, 1
                try:
                    if _digest(kind, key, value) != digest:
                        raise ValueError("the checksum does not fit")
                    entries.append(Entry(kind, interned(_key.decode(key)), value))
                except (AttributeError, TypeError, *JSON_FAULTS) as problem:
                    faults.append(f"row {row}: {problem}")
            return entries, faults
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as problem:
            if not faults:
                faults.append(str(problem))
            at, step = at + step, min(step * 2, _LONGEST_STEP)
            if at > last:
                return entries, faults


def _check(database: sqlite3.Connection) -> list[str]:
    try:
        return [str(row[0]) for row in database.execute("PRAGMA quick_check(10)") if row[0] != "ok"]
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as problem:
        return [str(problem)]


def _last_row(database: sqlite3.Connection) -> int:
    """An upper bound of the row numbers."""
    try:
        found: int | None = database.execute("SELECT max(rowid) FROM entries").fetchone()[0]
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return 10_000_000
    return found or 0


class _Damaged(Exception):
    """The file is no database, or a damaged one."""


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """Raise SQLite's errors of the medium as OSError, and those of the content as _Damaged."""
    try:
        yield
    except sqlite3.OperationalError as problem:
        raise OSError(f"SQLite: {problem}") from problem
    except sqlite3.DatabaseError as problem:
        raise _Damaged(str(problem)) from problem


def create(reactor: IReactor, path: str, _options: Mapping[str, Any]) -> ThreadedStore:
    """Implements `ICacheStorePlugin.create`."""
    return ThreadedStore(reactor, SqliteStore(Path(path)))


def inspect(path: str, _options: Mapping[str, Any]) -> Inspection:
    """Implements `ICacheStorePlugin.inspect`: reads the database, open in a server or not."""
    root = Path(path)
    try:
        with _as_os_error(), _open_to_read(root) as database:
            return Inspection(*_read(database))
    except _Damaged as problem:
        return Inspection([], [f"{root / _NAME}: {problem}"])


@contextlib.contextmanager
def _open_to_read(root: Path) -> Iterator[sqlite3.Connection]:
    """A connection that does not change the database, and creates no files where that can be avoided."""
    file = root / _NAME
    log = file.with_name(f"{_NAME}-wal")
    os.stat(file)
    with contextlib.ExitStack() as stack:
        if _is_open_elsewhere(root):
            options = "mode=ro"
        elif not log.exists() or not log.stat().st_size:
            options = "mode=ro&immutable=1"
        else:
            # A killed server left a log, which only a writer can apply: apply it to a copy.
            copies = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="superedge-cache-")))
            for path in (file, log):
                shutil.copyfile(path, copies / path.name)
            file, options = copies / _NAME, "mode=rw"
        database = sqlite3.connect(f"{file.absolute().as_uri()}?{options}", uri=True, isolation_level=None)
        stack.callback(database.close)
        yield database


def _is_open_elsewhere(root: Path) -> bool:
    try:
        lock = os.open(root / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
