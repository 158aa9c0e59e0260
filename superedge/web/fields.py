"""Parses header fields of responses: lenient in what it reads, unambiguous in what it returns. Pure.

Lines may end with a bare LF, values may be folded or contain control characters, and whitespace may precede
the colon. RFC 9112 sections 2.2, 5.1 and 5.2 say how a recipient treats each of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from superedge.web.errors import MessageError
from superedge.web.heads import Headers

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_CONTROLS_TO_SPACES = bytes(32 if (byte < 32 and byte != 9) or byte == 127 else byte for byte in range(256))


MAX_CACHED = 256
"""Bytes of the longest line whose parsed form is cached; most short lines recur."""


def parse_fields(lines: Iterable[bytes]) -> Headers:
    """The fields of ``lines``, which come without their LF. Joins folded values. Raises MessageError."""
    fields: Headers = []
    folded: list[bytes] = []
    for line in lines:
        pair = _cached_field(line) if len(line) <= MAX_CACHED else _field(line)
        if pair[0]:
            if folded:
                _unfold(fields, folded)
            fields.append(pair)
        elif fields:
            folded.append(pair[1])
        else:
            raise MessageError("the first header line begins with whitespace")
    _unfold(fields, folded)
    return fields


def _unfold(fields: Headers, folded: list[bytes]) -> None:
    """Append the continuation lines to the last field's value."""
    if folded:
        name, value = fields[-1]
        fields[-1] = name, b" ".join([value, *folded]).strip(b" \t")
        folded.clear()


def _field(line: bytes) -> tuple[bytes, bytes]:
    """(name, value) of a line; a continuation line has an empty name. Raises MessageError."""
    text = line.translate(_CONTROLS_TO_SPACES)
    if text[:1] in (b" ", b"\t"):
        return b"", text.strip(b" \t")
    name, colon, value = text.partition(b":")
    name = name.rstrip(b" \t")
    if not colon or _TOKEN(name) is None:
        raise MessageError(f"a header line has no valid name: {text[:80]!r}")
    return name, value.strip(b" \t")


_cached_field = lru_cache(maxsize=512)(_field)


def without_controls(text: bytes) -> bytes:
    """The text with each control character, such as a bare CR or NUL, replaced by a space."""
    return text.translate(_CONTROLS_TO_SPACES)
