"""Detects changed files, including swapped symlinks of Kubernetes volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from superedge.errors import SuperEdgeError
from superedge.tls.contexts import ClientContextSource, ServerContextSource, file_stamp

_log = Logger()


class FileWatcher(Service):
    """Calls back when a watched file is replaced, rewritten, created or removed.

    It compares `stat` every ``interval`` seconds, because inotify misses changes of bind mounts and of the
    symlinks in Kubernetes volumes.
    """

    name = "file-watcher"

    def __init__(self, reactor: IReactorTime, interval: float = 5.0) -> None:
        self._interval = interval
        self._watched: list[tuple[tuple[Path, ...], Callable[[], object]]] = []
        self._stamps: dict[Path, object] = {}
        self._sources: list[ServerContextSource | ClientContextSource] = []
        self._reloaded: set[frozenset[Path]] = set()
        """The files of the contexts that this check reloaded; several contexts may have the same ones."""
        self._loop = LoopingCall(self.check)
        self._loop.clock = reactor

    def watch(self, paths: Sequence[Path], changed: Callable[[], object]) -> None:
        """Call ``changed`` after any of ``paths`` changed. Its exceptions are logged."""
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
        for paths, callback in self._watched:
            if changed.intersection(paths):
                try:
                    callback()
                except SuperEdgeError as problem:
                    _log.error("kept what was in use: {problem}", problem=problem)
                except Exception:
                    _log.failure("could not process a change of {paths}", paths=[str(path) for path in paths])
        for files in self._reloaded:
            _log.info("reloaded TLS files {files}", files=sorted(str(path) for path in files))
        self._reloaded.clear()
        for source in self._sources:
            source.end_expired()

    def startService(self) -> None:
        super().startService()
        self._loop.start(self._interval, now=False)

    def stopService(self) -> None:
        super().stopService()
        if self._loop.running:
            self._loop.stop()
