"""A body that is gathered piece by piece, up to a length. Pure."""

from __future__ import annotations


class BoundedBody:
    """What was added, unless that is more than ``limit`` bytes: then nothing of it is kept."""

    __slots__ = ("_bytes", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes: bytearray | None = bytearray()

    def add(self, piece: bytes) -> bool:
        """Add a piece; whether the body is still short enough."""
        if self._bytes is not None:
            self._bytes += piece
            if len(self._bytes) > self._limit:
                self._bytes = None
        return self._bytes is not None

    @property
    def value(self) -> bytes | None:
        """What came so far; None for a body that is too long."""
        return None if self._bytes is None else bytes(self._bytes)
