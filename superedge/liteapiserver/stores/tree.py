"""A directory tree with one file for each record, in folders by key, readable for people. Blocking."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

import msgspec
from twisted.logger import Logger

from superedge.interfaces import Entry
from superedge.kube.errors import JSON_FAULTS
from superedge.liteapiserver import metrics
from superedge.liteapiserver.stores.keys import Key, interned

_SAFE = " :=,@+~()"
_LONGEST = 200
_TEMPORARY = "."
"""The prefix of temporary files; `file_name` never returns it."""

_log = Logger()


class _Head(msgspec.Struct):
    """The first line of a file."""

    kind: str
    key: Key
    size: int
    blake2b: str


_head = msgspec.json.Decoder(_Head)


def file_name(part: str) -> str:
    """A file name for a part of a key: readable, not hidden, not empty, not too long."""
    name = quote(part, safe=_SAFE)
    if not name or name == "_":
        return "_" if not part else "%5F"
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > _LONGEST:
        name = name[:_LONGEST] + "~" + blake2b(part.encode(), digest_size=8).hexdigest()
    return name


class Tree:
    """Files are written to a temporary name, synced and renamed, so that none is ever partial."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, kind: str, key: Key) -> Path:
        """The path of a record."""
        return self._root.joinpath(kind, *map(file_name, key))

    def scan(self) -> Iterator[tuple[Path, Entry | str]]:
        """Every file with its record, or with its fault. Changes nothing."""
        for directory, _, files in os.walk(self._root):
            for name in files:
                path = Path(directory, name)
                try:
                    found = "was not finished" if name.startswith(_TEMPORARY) else _decode(path.read_bytes())
                except FileNotFoundError:
                    continue  # deleted meanwhile
                except (OSError, *JSON_FAULTS) as problem:
                    yield path, str(problem)
                else:
                    yield path, found

    def read(self) -> Iterator[Entry]:
        """Every intact record; a damaged file is logged, counted and removed."""
        for path, found in self.scan():
            if isinstance(found, Entry):
                yield found
                continue
            if not is_unfinished(path):
                metrics.CORRUPT_ENTRIES.inc()
                _log.error("dropped the damaged cache file {path}: {problem}", path=str(path), problem=found)
            try:
                path.unlink()
            except OSError as refused:
                _log.error("could not remove {path}: {problem}", path=str(path), problem=refused)

    def write(self, records: Iterable[tuple[tuple[str, Key], bytes | None]]) -> None:
        """Put and delete records durably. Raises OSError; then some are done, and all can be repeated."""
        directories: set[Path] = set()
        for (kind, key), value in records:
            path = self.path(kind, key)
            if value is None:
                try:
                    path.unlink()
                except (FileNotFoundError, NotADirectoryError):
                    continue
                directories.add(self._remove_empty(path.parent))
                continue
            _make_directory(path.parent, directories)
            directories.add(path.parent)
            head = _Head(kind, key, len(value), _digest(kind, key, value))
            _write(path, msgspec.json.encode(head) + b"\n" + value)
        for directory in directories:
            sync_directory(directory)

    def _remove_empty(self, directory: Path) -> Path:
        """Remove empty directories upwards; returns the first that stays."""
        while directory != self._root:
            try:
                directory.rmdir()
            except OSError:
                break
            directory = directory.parent
        return directory


def is_unfinished(path: Path) -> bool:
    """Whether a crash left a file that was being written."""
    return path.name.startswith(_TEMPORARY)


def _decode(data: bytes) -> Entry:
    line, _, value = data.partition(b"\n")
    head = _head.decode(line)
    if len(value) != head.size or _digest(head.kind, head.key, value) != head.blake2b:
        raise ValueError("the checksum does not fit")
    return Entry(head.kind, interned(head.key), value)


def _digest(kind: str, key: Key, value: bytes) -> str:
    hash_ = blake2b(msgspec.json.encode((kind, key)), digest_size=16)
    hash_.update(value)
    return hash_.hexdigest()


def _write(path: Path, data: bytes) -> None:
    aside = path.with_name(_TEMPORARY + path.name)
    file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        os.fdatasync(file)
    finally:
        os.close(file)
    os.rename(aside, path)


def _make_directory(path: Path, changed: set[Path]) -> None:
    """Create a directory and its parents, all with mode 0700; `Path.mkdir` applies it to the last only.

    Directories with a new entry are added to ``changed``.
    """
    if not path.is_dir():
        _make_directory(path.parent, changed)
        path.mkdir(mode=0o700, exist_ok=True)
        changed.add(path.parent)


def sync_directory(path: Path) -> None:
    """Make a directory's entries durable; ignore a directory that no longer exists. Raises OSError."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(file)
    finally:
        os.close(file)
