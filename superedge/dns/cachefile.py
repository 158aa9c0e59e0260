"""The cache on disk, so that a start without upstream servers has their answers (RFC 8767)."""

from __future__ import annotations

from pathlib import Path
from time import time

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.dns.resolvers.cache import CacheResolver
from superedge.dns.snapshot import SnapshotError, encode_answers, read_answers, write_snapshot
from superedge.interfaces import IReactor
from superedge.reactor.periodic import PeriodicCall

INTERVAL = 300.0
"""Seconds between two writes: a flash disk has not many of them, and a stale answer may be a little older."""
MAX_BYTES = 4 * 1024 * 1024
_log = Logger()


class CacheFile(Service):
    """Reads ``path`` into the cache at the start, and writes it from time to time and at the end."""

    name = "local-dns-cache"

    def __init__(self, reactor: IReactor, cache: CacheResolver, path: Path) -> None:
        self._reactor = reactor
        self._cache = cache
        self._path = path
        self._written = 0
        """The cache's changes that the file has."""
        self._writing: Deferred[None] | None = None
        self._failing = False
        self._periodic = PeriodicCall(reactor, INTERVAL, self._begin)

    def startService(self) -> None:
        """Read the file; one that cannot be read is left out."""
        super().startService()
        try:
            found = read_answers(self._path)
        except SnapshotError as problem:
            _log.error("{problem}; answers of before are unknown", problem=problem)
        else:
            self._cache.restore(found, time())
        self._written = self._cache.changes
        self._periodic.start()

    def stopService(self) -> Deferred[None] | None:
        """Write what is not yet written, after what is being written."""
        super().stopService()
        self._periodic.stop()
        if self._writing is not None:
            return self._writing.addCallback(lambda _: self._write_last())
        self._write_last()
        return None

    def _write_last(self) -> None:
        if self._cache.changes != self._written:
            try:
                write_snapshot(self._path, self._encode())
            except OSError as problem:
                self._not_saved(Failure(problem))

    def _encode(self) -> bytes:
        self._written = self._cache.changes
        return encode_answers(self._cache.kept(time(), MAX_BYTES))

    def _begin(self) -> None:
        if self._writing is None and self._cache.changes != self._written:
            pool = self._reactor.getThreadPool()
            self._writing = deferToThreadPool(self._reactor, pool, write_snapshot, self._path, self._encode())
            self._writing.addCallbacks(self._saved, self._not_saved)

    def _saved(self, _: None) -> None:
        self._writing = None
        self._failing = False

    def _not_saved(self, failure: Failure) -> None:
        self._writing = None
        self._written = -1
        if not self._failing:
            self._failing = True
            problem = failure.getErrorMessage()
            _log.error("{path} cannot be written: {problem}", path=self._path, problem=problem)
