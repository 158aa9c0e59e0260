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
        if (
            at + _HEAD < end
            and not (self._missing or self._head)
            and at + _HEAD + (data[at + 3] << 8 | data[at + 4]) == end
        ):
            return end, 1  # exactly one record, as nearly always when messages are small
        left, begun = self._missing, True
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
            if whole == max_records:
                self._missing = 0
                return behind, whole
            behind += _HEAD + (data[behind + 3] << 8 | data[behind + 4])
        if behind > end:
            self._missing = behind - end
        else:
            whole += 1
            self._missing = 0
            if whole == max_records:
                return behind, whole
            if behind < end:
                self._head = bytes(data[behind:end])
        return end, whole
