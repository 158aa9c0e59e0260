"""The directory of snapshots: files ``snapshot-NUMBER.json``, of which the highest number is the newest.

The order is that of the numbers, not of the clock, which a node without a battery sets back at each start.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from superedge.netsnapshot.document import MAX_BYTES, Snapshot, SnapshotError, decode_snapshot
from superedge.netsnapshot.unfinished import read_unfinished

KEPT = 3
_NAME = re.compile(r"snapshot-(\d{1,18})\.json")


class Found(NamedTuple):
    """A file of the directory: a snapshot, or why it is none."""

    path: Path
    snapshot: Snapshot | None
    fault: str = ""

    @property
    def number(self) -> int:
        """See `numbers`."""
        return int(self.path.stem.partition("-")[2])


def numbers(directory: Path) -> list[int]:
    """The numbers of the snapshots, newest first; none in a missing directory. Raises OSError."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted((int(found[1]) for name in names if (found := _NAME.fullmatch(name))), reverse=True)


def path_of(directory: Path, number: int) -> Path:
    """Where a snapshot is."""
    return directory / f"snapshot-{number}.json"


def read_snapshots(directory: Path) -> list[Found]:
    """Every snapshot, newest first. Raises OSError when the directory cannot be read."""
    return [_read(path_of(directory, number)) for number in numbers(directory)]


def _read(path: Path) -> Found:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SnapshotError(f"has more than {MAX_BYTES} bytes")
        return Found(path, decode_snapshot(data))
    except OSError as problem:
        return Found(path, None, f"{path} cannot be read: {problem.strerror}")
    except SnapshotError as problem:
        return Found(path, None, f"{path} {problem}")


def write_snapshot(directory: Path, data: bytes) -> Path:
    """Add the newest snapshot, whole or not at all. Raises OSError.

    Of the others the last ones are kept, `KEPT` together, and those whose restore is not finished.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = numbers(directory)
    path = path_of(directory, there[0] + 1 if there else 1)
    new = directory / ".snapshot.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
    unfinished = read_unfinished(directory)
    for number in there[KEPT - 1 :]:
        if number in unfinished:
            continue
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path_of(directory, number))
    return path
