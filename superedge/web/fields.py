"""Header fields as servers write them: read leniently, given out in one unambiguous form. Pure.

Lines may end with a bare LF, values may be folded or hold control characters, and whitespace may stand before
the colon (RFC 9112 sections 2.2, 5.1 and 5.2 say what a recipient makes of each).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from superedge.web.errors import MessageError
from superedge.web.heads import Headers

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_CONTROLS_TO_SPACES = bytes(32 if (byte < 32 and byte != 9) or byte == 127 else byte for byte in range(256))


MAX_KNOWN = 256
"""Bytes of the longest line that is kept: most come again and again."""


def parse_fields(lines: Iterable[bytes]) -> Headers:
    """Fields from lines without their LF; a folded value is one line. Raises MessageError."""
    fields: Headers = []
    folded: list[bytes] = []
    for line in lines:
        pair = _known_field(line) if len(line) <= MAX_KNOWN else _field(line)
        if pair[0]:
            if folded:
                _unfold(fields, folded)
            fields.append(pair)
        elif fields:
            folded.append(pair[1])
        else:
            raise MessageError("whitespace before the first header")
    _unfold(fields, folded)
    return fields


def _unfold(fields: Headers, folded: list[bytes]) -> None:
    """Add to the last field's value what its further lines said."""
    if folded:
        name, value = fields[-1]
        fields[-1] = name, b" ".join([value, *folded]).strip(b" \t")
        folded.clear()


def _field(line: bytes) -> tuple[bytes, bytes]:
    """Name and value; without a name, what a folded line adds. Raises MessageError."""
    text = line.translate(_CONTROLS_TO_SPACES)
    if text[:1] in (b" ", b"\t"):
        return b"", text.strip(b" \t")
    name, colon, value = text.partition(b":")
    name = name.rstrip(b" \t")
    if not colon or _TOKEN(name) is None:
        raise MessageError(f"a header line without a name: {text[:80]!r}")
    return name, value.strip(b" \t")


_known_field = lru_cache(maxsize=512)(_field)


def without_controls(text: bytes) -> bytes:
    """The text with a space for each control character, a bare CR and a NUL among them."""
    return text.translate(_CONTROLS_TO_SPACES)
