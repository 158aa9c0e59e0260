"""Collects a body in memory up to a maximum length. Pure."""

from __future__ import annotations


class BoundedBody:
    """The bytes that were added; once they exceed ``limit`` it drops all of them and takes no more."""

    __slots__ = ("_bytes", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes: bytearray | None = bytearray()

    def add(self, data: bytes) -> bool:
        """Add part of the body. Returns whether the body is within the limit."""
        if self._bytes is not None:
            self._bytes += data
            if len(self._bytes) > self._limit:
                self._bytes = None
        return self._bytes is not None

    @property
    def value(self) -> bytes | None:
        """The bytes so far; None when the body exceeded the limit."""
        return None if self._bytes is None else bytes(self._bytes)
