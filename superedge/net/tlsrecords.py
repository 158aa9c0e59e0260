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
        left, begun = self._left, True
        if self._head:
            head = self._head + bytes(data[at : min(at + _HEAD - len(self._head), end)])
            at += len(head) - len(self._head)
            if len(head) < _HEAD:
                self._head = head
                return at, 0
            self._head, left = b"", head[3] << 8 | head[4]
        elif not left:
            begun = False
        behind = at + left  # the record under way
        whole = 0 if begun else -1
        while behind <= end - _HEAD:
            whole += 1
            if whole == most:
                self._left = 0
                return behind, whole
            behind += _HEAD + (data[behind + 3] << 8 | data[behind + 4])
        if behind > end:
            self._left = behind - end
        else:
            whole += 1
            self._left = 0
            if whole == most:
                return behind, whole
            if behind < end:
                self._head = bytes(data[behind:end])
        return end, whole
