"""The SQLite store: one table in one file, write-ahead log, one transaction a batch.

A database that is found damaged is put aside as ``cache.damaged``, and what can be read of it is taken over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from twisted.logger import Logger

from superedge.interfaces import Change, Entry, IReactor
from superedge.liteapiserver import metrics
from superedge.liteapiserver.stores.threads import StoreInUse, ThreadedStore

_SCHEMA = "CREATE TABLE IF NOT EXISTS records (kind TEXT, key BLOB, value BLOB, PRIMARY KEY (kind, key))"
_PUT = "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value"
_DELETE = "DELETE FROM records WHERE kind = ? AND key = ?"

_log = Logger()
_key = msgspec.json.Decoder(tuple[str, ...])


class SqliteStore:
    """Blocking; `ThreadedStore` is the `ICacheStore` around it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "cache.sqlite"
        self._lock: int | None = None
        self._database: sqlite3.Connection | None = None

    def load(self) -> list[Entry]:
        """Open the database and read everything. Raises OSError, StoreInUse."""
        try:
            database = self._open()
            with _as_os_error():
                problems = [row[0] for row in database.execute("PRAGMA quick_check(1)")]
                if problems == ["ok"]:
                    return list(self._read(database))
        except _Damaged as problem:
            problems = [str(problem)]
        return self._rebuild(problems[0])

    def _open(self) -> sqlite3.Connection:
        if self._database is not None:
            return self._database
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        # SQLite gives its other files the permissions of this one.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with _as_os_error():
            # Called from one thread at a time, not always the same.
            database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
                database.execute(_SCHEMA)
            except BaseException:
                database.close()
                raise
        self._database = database
        return database

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StoreInUse(f"{self._root} is in use by another process") from None
        self._lock = lock

    def _read(self, database: sqlite3.Connection) -> Iterator[Entry]:
        for kind, key, value in database.execute("SELECT kind, key, value FROM records"):
            try:
                yield Entry(kind, _key.decode(key), value)
            except (msgspec.MsgspecError, TypeError):
                metrics.CORRUPT_ENTRIES.inc()
                _log.error("dropped a damaged record of kind {kind}", kind=kind)

    def _rebuild(self, problem: str) -> list[Entry]:
        """Put the damaged file aside; what can still be read of it begins the new one."""
        metrics.CORRUPT_ENTRIES.inc()
        _log.error("the cache database is damaged and made anew: {problem}", problem=problem)
        saved: list[Entry] = []
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                for entry in self._read(self._database):
                    saved.append(entry)
            self._close_database()
        for suffix in ("", "-wal", "-shm"):
            path = self._path.with_name(self._path.name + suffix)
            if path.exists():
                path.rename(path.with_name(f"cache.damaged{suffix}"))
        self.apply([Change(entry.kind, entry.key, entry.value) for entry in saved])
        return saved

    def apply(self, changes: Sequence[Change]) -> None:
        """Make one batch durable. Raises OSError."""
        database = self._open()
        with _as_os_error():
            database.execute("BEGIN IMMEDIATE")
            try:
                for change in changes:
                    key = msgspec.json.encode(change.key)
                    if change.value is None:
                        database.execute(_DELETE, (change.kind, key))
                    else:
                        database.execute(_PUT, (change.kind, key, change.value))
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

    def close(self) -> None:
        """Release the files."""
        self._close_database()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


class _Damaged(Exception):
    """The file is no database, or not a whole one."""


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """SQLite's faults of the medium as OSError, those of the file's content as _Damaged."""
    try:
        yield
    except sqlite3.OperationalError as problem:
        raise OSError(f"SQLite: {problem}") from problem
    except sqlite3.DatabaseError as problem:
        raise _Damaged(str(problem)) from problem


def create(reactor: IReactor, path: str, _options: Mapping[str, Any]) -> ThreadedStore:
    """For the plugin."""
    return ThreadedStore(reactor, SqliteStore(Path(path)))
