"""A chunked body as servers send it (RFC 9112 section 7.1). Pure.

Lines may end with a bare LF, and sizes may be padded with zeros or whitespace. Whoever sends the body on
writes the chunks anew.
"""

from __future__ import annotations

import re
from typing import Any

from superedge.web.errors import MessageError
from superedge.web.fields import parse_fields
from superedge.web.heads import Headers

MAX_LINES = 64 * 1024
"""Bytes of one size line with its extensions, or of all trailers."""

WHOLE_LINE = 40
"""Bytes of the longest size line that is read in one step."""
MAX_KNOWN = 2048

_SIZE = re.compile(rb"[ \t]*0*([0-9A-Fa-f]{1,15})[ \t\r]*(?:;.*)?", re.DOTALL).fullmatch

# By the end of one chunk's data and the size line behind it: the size. The data may end there, too.
_NOTHING = {b"\r\n": 0}
_known = dict(_NOTHING)


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
        self._width = 5
        """Bytes of the last size line: most are as long as the one before."""

    def feed(self, data: bytes, pieces: list[Any]) -> int:
        """Append what ``data`` holds of the body; the index behind the body's end, -1 while that is to come.

        Raises MessageError.
        """
        at, size = 0, len(data)
        while at < size:
            if self._at_size:  # whole chunks, as nearly all come
                width = self._width
                known = _known.get(b"\r\n" + data[at : at + width])
                while True:
                    if known is None:
                        known = self._read_size(data, at)
                        width = self._width
                    if not known:
                        break
                    begin = at + width
                    end = begin + known
                    line = data[end : end + width + 2]
                    known = _known.get(line)
                    if known is None and line[:2] != b"\r\n":
                        break
                    pieces.append(data[begin:end])
                    at = end + 2
                if at == size:
                    return -1
                self._at_size = False
            left = self._left
            if left:
                piece = data[at : at + left]
                pieces.append(piece)
                at += len(piece)
                self._left = left - len(piece)
                if data.startswith(b"\r\n", at):
                    self._at_size = True
                    at += 2
                else:
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

    def _read_size(self, data: bytes, at: int) -> int:
        """What a whole size line says that is not known; 0 when it is none, or the last."""
        end = data.find(b"\n", at, at + WHOLE_LINE)
        found = _SIZE(data, at, end) if data.startswith(b"\r\n", end - 1) else None
        size = int(found[1], 16) if found is not None else 0
        if size:
            self._width = end + 1 - at
            if len(_known) >= MAX_KNOWN:
                _known.clear()
                _known.update(_NOTHING)
            _known[b"\r\n" + data[at : end + 1]] = size
        return size

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
