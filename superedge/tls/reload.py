"""Detects changed files, including swapped symlinks of Kubernetes volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.errors import SuperEdgeError
from superedge.reactor.periodic import PeriodicCall
from superedge.tls.contexts import ClientContextSource, ServerContextSource, file_stamp

_log = Logger()


class FileWatcher(Service):
    """Calls back when a watched file is replaced, rewritten, created or removed.

    It compares `stat` every ``interval`` seconds, because inotify misses changes of bind mounts and of the
    symlinks in Kubernetes volumes.
    """

    name = "file-watcher"

    def __init__(self, reactor: IReactorTime, interval: float = 5.0) -> None:
        self._watched: list[tuple[tuple[Path, ...], Callable[[], object]]] = []
        self._failed: dict[int, str] = {}
        """Why a callback failed, by its number; it is called again at every check until it succeeds."""
        self._stamps: dict[Path, object] = {}
        self._sources: list[ServerContextSource | ClientContextSource] = []
        self._reloaded: set[frozenset[Path]] = set()
        """The files of the contexts that this check reloaded; several contexts may have the same ones."""
        self._checks = PeriodicCall(reactor, interval, self.check, "watching files")

    def watch(self, paths: Sequence[Path], changed: Callable[[], object]) -> None:
        """Call ``changed`` after any of ``paths`` changed, and again at every check while it fails.

        Its exceptions are logged when they change.
        """
        self._watched.append((tuple(paths), changed))
        for path in paths:
            self._stamps.setdefault(path, file_stamp(path))

    def watch_context(self, source: ServerContextSource | ClientContextSource) -> None:
        """Reload a TLS context when its files change; invalid files leave the old one in use.

        Also ends connections of its contexts when their peers' certificates expire.
        """
        self._sources.append(source)

        def reload() -> None:
            if source.reload():
                self._reloaded.add(frozenset(source.files))

        self.watch(source.files, reload)

    def check(self) -> None:
        """Check all files now."""
        changed = set()
        for path, before in self._stamps.items():
            stamp = file_stamp(path)
            if stamp != before:
                changed.add(path)
                self._stamps[path] = stamp
        for number, (paths, callback) in enumerate(self._watched):
            if changed.intersection(paths) or number in self._failed:
                self._call(number, paths, callback)
        for files in self._reloaded:
            _log.info("reloaded TLS files {files}", files=sorted(str(path) for path in files))
        self._reloaded.clear()
        for source in self._sources:
            source.end_expired()

    def _call(self, number: int, paths: Sequence[Path], callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception as problem:
            before, self._failed[number] = self._failed.get(number), str(problem)
            if before == str(problem):
                return
            if isinstance(problem, SuperEdgeError):
                _log.error("kept what was in use: {problem}", problem=problem)
            else:
                _log.failure("could not process a change of {paths}", paths=[str(path) for path in paths])
        else:
            self._failed.pop(number, None)

    def startService(self) -> None:
        super().startService()
        self._checks.start()

    def stopService(self) -> None:
        super().stopService()
        self._checks.stop()
