"""Restores that did not put back everything: their snapshots are kept, and the next run tries them again.

The file ``unfinished`` in the directory of snapshots has a line for each: the snapshot's number and the boot
that began to restore it.
"""

from __future__ import annotations

import os
from pathlib import Path

NAME = "unfinished"
MAX_BYTES = 4096


def read_unfinished(directory: Path) -> dict[int, str]:
    """Boot ids by the numbers of snapshots; none when the file is missing or damaged."""
    try:
        with open(directory / NAME, encoding="ascii") as file:
            lines = file.read(MAX_BYTES).splitlines()
        return {int(number): boot_id for number, boot_id in map(str.split, lines)}
    except (OSError, ValueError):
        return {}


def write_unfinished(directory: Path, found: dict[int, str]) -> None:
    """Replace the file in one step. Raises OSError."""
    path = directory / NAME
    if not found:
        path.unlink(missing_ok=True)
        return
    new = directory / f".{NAME}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "w", encoding="ascii") as file:
        file.writelines(f"{number} {boot_id}\n" for number, boot_id in found.items())
        file.flush()
        os.fsync(descriptor)
    os.replace(new, path)
