"""TLS records in a stream of bytes, however it is cut. Pure. Source: RFC 8446 section 5.1."""

from __future__ import annotations

_HEAD = 5


class RecordCounter:
    """Finds the ends of records."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""
        """The beginning of a head that is not whole yet."""
        self._left = 0
        """Bytes that the record under way lacks."""

    def take(self, data: memoryview, at: int, end: int, most: int) -> tuple[int, int]:
        """Go through ``data[at:end]`` up to the end of the record number ``most``.

        Where that is, or ``end``, and how many records ended on the way.
        """
        left, whole = self._left, 0
        while True:
            if left > end - at:
                self._left = left - (end - at)
                return end, whole
            if left:
                at, left = at + left, 0
                whole += 1
                if whole == most:
                    break
            if end - at < _HEAD or self._head:
                head = self._head + bytes(data[at : min(at + _HEAD - len(self._head), end)])
                at += len(head) - len(self._head)
                if len(head) < _HEAD:
                    self._head = head
                    break
                self._head, left = b"", head[3] << 8 | head[4]
            else:
                left = data[at + 3] << 8 | data[at + 4]
                at += _HEAD
        self._left = 0
        return at, whole
