"""Stores the node's unit on disk, for a start without the cloud."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from twisted.logger import Logger

from superedge.health.votes.messages import FROM_CLOUD, MessageError, MessageReader, Unit, encode_message

FILE = "unit"

_log = Logger()


class UnitFile:
    """One file, replaced atomically. Failed writes are logged and have no other effect."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE

    def read(self) -> Unit | None:
        """The stored unit; None when there is none, or none that can be read."""
        try:
            found = MessageReader(FROM_CLOUD).feed(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, MessageError) as problem:
            _log.warn("{path} cannot be read: {problem}", path=str(self._path), problem=problem)
            return None
        return found[0] if len(found) == 1 and isinstance(found[0], Unit) else None

    def write(self, unit: Unit) -> None:
        """Store a unit."""
        new = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(encode_message(unit))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as problem:
            _log.error("{path} cannot be written: {problem}", path=str(self._path), problem=problem)
            with contextlib.suppress(OSError):
                new.unlink()
