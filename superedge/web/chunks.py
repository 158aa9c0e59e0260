"""A chunked body as servers send it (RFC 9112 section 7.1). Pure.

Lines may end with a bare LF, and sizes may be padded with zeros or whitespace. Whoever sends the body on
writes the chunks anew.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from superedge.web.errors import MessageError
from superedge.web.fields import parse_fields
from superedge.web.heads import Headers

MAX_LINES = 64 * 1024
"""Bytes of one size line with its extensions, or of all trailers."""

WHOLE_LINE = 40
"""Bytes of the longest size line that is read in one step."""

_SIZE = re.compile(rb"[ \t]*0*([0-9A-Fa-f]{1,15})[ \t\r]*(?:;.*)?", re.DOTALL).fullmatch


@lru_cache(maxsize=2048)
def _size_of(line: bytes) -> int:
    """The size that a line without its LF says, -1 when it is none."""
    found = _SIZE(line)
    return -1 if found is None else int(found[1], 16)


class ChunkReader:
    """Reads one body."""

    def __init__(self) -> None:
        self.trailers: Headers = []
        self._left = 0
        """Bytes to come of the chunk under way."""
        self._at_size = True
        """The next byte is the first of a size line."""
        self._data_ends = False
        """The next line is the empty one behind a chunk's data."""
        self._line = bytearray()
        """The beginning of a line whose end has not come."""
        self._trailer_lines: list[bytes] | None = None
        self._size = 0

    def feed(self, data: bytes, pieces: list[Any]) -> int:
        """Append what ``data`` holds of the body; the index behind the body's end, -1 while that is to come.

        Raises MessageError.
        """
        at, size = 0, len(data)
        while at < size:
            if self._at_size:  # a whole chunk, as nearly all come
                begin = data.find(b"\r\n", at, at + WHOLE_LINE) + 2
                end = begin + _size_of(data[at : begin - 2]) if begin > 1 else begin
                if end > begin > 1 and data.startswith(b"\r\n", end):
                    pieces.append(data[begin:end])
                    at = end + 2
                    continue
                self._at_size = False
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._data_ends = not self._left
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._line += data[at:]
                self._check(len(self._line))
                return -1
            line = data[at:end]
            at = end + 1
            if self._line:
                line = bytes(self._line) + line
                self._line.clear()
            if self._take(line):
                return at
        return -1

    def _take(self, line: bytes) -> bool:
        """Take a line; whether it was the last."""
        if self._data_ends:
            self._data_ends = False
            if line.strip(b"\r"):
                raise MessageError("a chunk is longer than its size says")
            self._at_size = True
        elif self._trailer_lines is None:
            self._check(len(line))
            found = _SIZE(line)
            if found is None:
                raise MessageError(f"not the size of a chunk: {line[:40]!r}")
            self._left = int(found[1], 16)
            if not self._left:
                self._trailer_lines = []
        elif line.strip(b"\r"):
            self._size += len(line)
            self._check(self._size)
            self._trailer_lines.append(line)
        else:
            self.trailers = parse_fields(self._trailer_lines)
            return True
        return False

    def _check(self, size: int) -> None:
        if size > MAX_LINES:
            raise MessageError(f"lines of more than {MAX_LINES} bytes in a chunked body", 431)
