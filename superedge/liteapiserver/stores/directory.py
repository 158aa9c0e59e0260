"""The directory of a store: private, locked by one process, and checked for removal. Blocking."""

from __future__ import annotations

import fcntl
import os
import stat
from fnmatch import fnmatchcase
from pathlib import Path

from twisted.logger import Logger

from superedge.errors import StoreLost, SuperEdgeError

_OPEN = stat.S_IRWXG | stat.S_IRWXO
_CACHE_FILES = ("lock", "journal", "tree", "token.key*", "cache.sqlite*", "cache.damaged*")

_log = Logger()


class StoreInUse(SuperEdgeError):
    """Another process uses the directory."""


class NotPrivate(SuperEdgeError):
    """The directory is open to others and cannot be made private."""


class Directory:
    """Held from `acquire` to `release`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock: int | None = None
        self._known: dict[str, tuple[int, int]] = {}

    def acquire(self) -> None:
        """Create the directory, make it private and lock it. Raises OSError, StoreInUse, NotPrivate."""
        if self._lock is not None:
            return
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(self._root)
        lock = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            os.close(lock)
            if isinstance(problem, BlockingIOError):
                raise StoreInUse(f"{self._root} is in use by another process") from None
            raise
        self._lock = lock
        self.track("lock")

    def track(self, name: str) -> None:
        """Have `check` look for a file or directory in it from now on."""
        found = _identity(self._root / name)
        if found is not None:
            self._known[name] = found

    def check(self) -> None:
        """Raise StoreLost if a tracked file or directory was removed or replaced."""
        for name, known in self._known.items():
            path = self._root / name
            if _identity(path) != known:
                raise StoreLost(f"{path} was removed while it was in use")

    def release(self) -> None:
        """Release the lock."""
        self._known.clear()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _is_cache_file(path: Path) -> bool:
    return path.lstat().st_uid == os.geteuid() and any(fnmatchcase(path.name, each) for each in _CACHE_FILES)


def _make_private(root: Path) -> None:
    """Make a directory private that others can enter. Raises OSError, NotPrivate.

    A directory with other files is refused: it may be a system directory named by mistake, or another user
    may have put records there.
    """
    mode = root.stat().st_mode
    if not mode & _OPEN:
        return
    foreign = [path.name for path in root.iterdir() if not _is_cache_file(path)]
    if foreign:
        raise NotPrivate(
            f"{root} is open to others (mode {stat.S_IMODE(mode):04o}) and holds {min(foreign)}, which is no "
            "part of the cache: give the cache a directory of its own, with mode 0700"
        )
    try:
        root.chmod(stat.S_IMODE(mode) & ~_OPEN)
    except PermissionError:
        raise NotPrivate(
            f"{root} is open to others (mode {stat.S_IMODE(mode):04o}) and belongs to another user: "
            "it must have mode 0700"
        ) from None
    _log.warn("{root} was open to others: its mode is 0700 now", root=str(root))
