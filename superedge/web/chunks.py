"""Decodes a chunked body (RFC 9112 section 7.1). Pure.

It accepts lines that end with a bare LF, and sizes padded with zeros or whitespace. A proxy that forwards the
body encodes its own chunks.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from superedge.web.errors import MessageError
from superedge.web.fields import parse_fields
from superedge.web.heads import Headers

MAX_LINES = 64 * 1024
"""Maximum bytes of one size line with its extensions, and of all trailers together."""

FAST_LINE = 40
"""Bytes of the longest size line that the fast path reads."""

_SIZE = re.compile(rb"[ \t]*0*([0-9A-Fa-f]{1,15})[ \t\r]*(?:;.*)?", re.DOTALL).fullmatch


@lru_cache(maxsize=2048)
def _size_of(line: bytes) -> int:
    """The size in a line without its LF; -1 when the line is not a size."""
    found = _SIZE(line)
    return -1 if found is None else int(found[1], 16)


class ChunkReader:
    """Decodes one body."""

    def __init__(self) -> None:
        self.trailers: Headers = []
        self._left = 0
        """Bytes of the current chunk that have not arrived."""
        self._at_size = True
        """Whether the next byte begins a size line."""
        self._data_ends = False
        """Whether the next line is the empty one after a chunk's data."""
        self._line = bytearray()
        """The part of an incomplete line that has arrived."""
        self._trailer_lines: list[bytes] | None = None
        self._size = 0

    def feed(self, data: bytes, out: list[Any]) -> int:
        """Append the decoded bytes of ``data`` to ``out``.

        Returns the index after the body's end, or -1 when more is to come. Raises MessageError.
        """
        at, size = 0, len(data)
        while at < size:
            if self._at_size:  # fast path: ``data`` has the whole chunk, as it nearly always does
                begin = data.find(b"\r\n", at, at + FAST_LINE) + 2
                end = begin + _size_of(data[at : begin - 2]) if begin > 1 else begin
                if end > begin > 1 and data.startswith(b"\r\n", end):
                    out.append(data[begin:end])
                    at = end + 2
                    continue
                self._at_size = False
            if self._left:
                part = data[at : at + self._left]
                out.append(part)
                at += len(part)
                self._left -= len(part)
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
        """Process a line. Returns whether it ended the body."""
        if self._data_ends:
            self._data_ends = False
            if line.strip(b"\r"):
                raise MessageError("a chunk is longer than its size says")
            self._at_size = True
        elif self._trailer_lines is None:
            self._check(len(line))
            found = _SIZE(line)
            if found is None:
                raise MessageError(f"not a chunk size: {line[:40]!r}")
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
            raise MessageError(f"a chunked body has lines of more than {MAX_LINES} bytes", 431)
