"""Finds the boundaries of TLS records in a byte stream. Pure. Source: RFC 8446 section 5.1."""

from __future__ import annotations

_HEAD = 5


class RecordCounter:
    """Counts records. The stream may be cut anywhere."""

    __slots__ = ("_head", "_missing")

    def __init__(self) -> None:
        self._head = b""
        """The first bytes of an incomplete record header."""
        self._missing = 0
        """Bytes that the current record still lacks."""

    def scan(self, data: memoryview, at: int, end: int, max_records: int) -> tuple[int, int]:
        """Scan ``data[at:end]`` up to the end of the record number ``max_records``.

        Return the position of that end, or ``end``, and the number of records that ended.
        """
        missing, whole = self._missing, 0
        while True:
            if missing > end - at:
                self._missing = missing - (end - at)
                return end, whole
            if missing:
                at, missing = at + missing, 0
                whole += 1
                if whole == max_records:
                    break
            if end - at < _HEAD or self._head:
                head = self._head + bytes(data[at : min(at + _HEAD - len(self._head), end)])
                at += len(head) - len(self._head)
                if len(head) < _HEAD:
                    self._head = head
                    break
                self._head, missing = b"", head[3] << 8 | head[4]
            else:
                missing = data[at + 3] << 8 | data[at + 4]
                at += _HEAD
        self._missing = 0
        return at, whole
