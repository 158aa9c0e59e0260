"""Messages of the plainest form, which nearly all are, read in few steps. Pure.

What is not exactly so is left to the parser of `superedge.web.h1`: None says that it is not. Most header
lines came before, on this connection or another: a line is looked into once.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import cast

from superedge.web.heads import HOP_BY_HOP, NOTED, Headers, Passing, RequestHead, ResponseHead

MAX_PLAIN = 4096
"""Bytes of the longest head that is read here; with the numbers kept it bounds what they occupy."""

_Field = tuple[tuple[bytes, bytes], tuple[bytes, bytes] | None, bytes]
"""A header; the same by its lower-case name if a proxy looks at it; its line if a proxy sends it on."""

_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)"
).fullmatch
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([\t -~\x80-\xff]*)").fullmatch
_REQUEST_LINE = re.compile(rb"(GET|HEAD) (/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*) HTTP/1\.1").fullmatch
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}").fullmatch
# What tells where a message ends, or what comes after it.
_DECIDES = frozenset({b"content-length", b"transfer-encoding", b"upgrade", b"expect"})
_NO_BODY = frozenset({204, 304})


@lru_cache(maxsize=512)
def _field(line: bytes) -> _Field | None:
    found = _LINE(line)
    if found is None:
        return None
    name, value = found.groups()
    low = name.lower()
    hop = low in HOP_BY_HOP
    return (name, value), (low, value) if hop or low in NOTED else None, b"" if hop else line + b"\r\n"


@lru_cache(maxsize=64)
def _status(line: bytes) -> tuple[int, bytes] | None:
    found = _STATUS_LINE(line)
    return None if found is None else (int(found[1]), found[2])


@lru_cache(maxsize=256)
def plain_request(data: bytes) -> RequestHead | None:
    """One whole request without a body, of at most MAX_PLAIN bytes, and nothing behind it.

    The answer is shared between calls: it is read-only.
    """
    if not data.endswith(b"\r\n\r\n"):
        return None
    first, *lines = data[:-4].split(b"\r\n")
    found = _REQUEST_LINE(first)
    if found is None:
        return None
    fields = list(map(_field, lines))
    headers: Headers = []
    for field in fields:
        if field is None:
            return None
        pair, noted, _ = field
        if noted is not None:
            low, value = noted
            if low in _DECIDES or (low == b"connection" and value.lower() != b"keep-alive"):
                return None
        headers.append(pair)
    return RequestHead(found[1], found[2], "1.1", headers, True, False, data)


def plain_response(data: bytes) -> tuple[ResponseHead, int, int] | None:
    """The head of a response whose body has a known length, that length, and where in ``data`` it begins.

    Not for the response to HEAD.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_PLAIN)
    if end < 0:
        return None
    lines = data[:end].split(b"\r\n")
    status = _status(lines[0])
    if status is None or status[0] in _NO_BODY:
        return None
    fields = list(map(_field, lines[1:]))
    if not fields or None in fields:
        return None
    headers, noteworthy, kept = zip(*cast("list[_Field]", fields), strict=True)
    noted: dict[bytes, bytes] = dict(filter(None, noteworthy))
    length = noted.get(b"content-length", b"")
    if not _LENGTH(length) or b"transfer-encoding" in noted or b"upgrade" in noted:
        return None
    if b"connection" in noted and noted[b"connection"].lower() != b"keep-alive":
        return None
    if len(noted) + noteworthy.count(None) != len(noteworthy):
        return None  # one came twice
    passing = Passing(b"".join(kept), noted)
    return ResponseHead(*status, list(headers), True, True, passing), int(length), end + 4
