"""Messages of the plainest form, which nearly all are, read in few steps. Pure.

What is not exactly so is left to the parser of `superedge.web.h1`: None says that it is not. Most heads came
before, on this connection or another, but for a line or two: what the rest says is found out once.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from functools import lru_cache
from typing import NamedTuple

from superedge.web.heads import (
    HOP_BY_HOP,
    NOTED,
    SERVER_BOUND,
    Headers,
    Passing,
    RequestHead,
    ResponseHead,
)

MAX_PLAIN = 4096
"""Bytes of the longest head that is read here; with the numbers kept it bounds what they occupy."""
CHUNKED = -1
"""In the place of the length of a body that comes in chunks."""

_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)"
).fullmatch
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([\t -~\x80-\xff]*)").fullmatch
_REQUEST_LINE = re.compile(rb"(GET|HEAD) (/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*) HTTP/1\.1").fullmatch
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}").fullmatch
# What tells where a message ends otherwise than by its length, or what comes after it.
_DECIDES = frozenset({b"upgrade", b"expect"})
_NO_BODY = frozenset({204, 304})

_OWN = (b"\r\nAudit-Id: ", b"\r\nDate: ")
"""How the headers begin of which each answer has a value of its own."""
_VALUE = re.compile(rb"[!-~](?:[ -~]*[!-~])?").fullmatch


class _Lines(NamedTuple):
    """Header lines; by lower-case name what a proxy looks at; and the lines that it does not send on."""

    headers: Headers
    noted: dict[bytes, bytes]
    bound: list[bytes]


class _Known(NamedTuple):
    """What a response's head says, apart from the values of its own."""

    status: int
    reason: bytes
    begin: int
    """Where the header lines do."""
    noted: dict[bytes, bytes]
    bound: list[bytes]
    length: int


@lru_cache(maxsize=512)
def _field(line: bytes) -> tuple[bytes, bytes] | None:
    found = _LINE(line)
    return None if found is None else (found[1], found[2])


def _read(lines: Sequence[bytes], bound: Container[bytes]) -> _Lines | None:
    """None unless every line is plain and none needs a closer look; ``bound`` names what is not sent on."""
    headers: Headers = []
    noted: dict[bytes, bytes] = {}
    left: list[bytes] = []
    for line in lines:
        pair = _field(line)
        if pair is None:
            return None
        headers.append(pair)
        low = pair[0].lower()
        if low in bound:
            left.append(line)
        elif low not in NOTED:
            continue
        if low in noted or low in _DECIDES:
            return None
        noted[low] = pair[1]
    if noted.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    return _Lines(headers, noted, left)


def _without(lines: bytes, bound: list[bytes]) -> bytes:
    """Header lines as they stand on the wire, but for those that are ``bound``."""
    if not bound:
        return lines
    lines = b"\n" + lines
    for line in bound:
        lines = lines.replace(b"\n%b\r\n" % line, b"\n", 1)
    return lines[1:]


@lru_cache(maxsize=256)
def _request_lines(lines: bytes) -> tuple[Headers, Passing] | None:
    """Read the headers of a request, which are the same in all that one client asks for."""
    found = _read(lines[:-2].split(b"\r\n"), SERVER_BOUND)
    if found is None or b"content-length" in found.noted or b"transfer-encoding" in found.noted:
        return None
    return found.headers, (_without(lines, found.bound), found.noted)


@lru_cache(maxsize=256)
def plain_request(data: bytes) -> RequestHead | None:
    """One whole request without a body, of at most MAX_PLAIN bytes, and nothing behind it.

    The answer is shared between calls: it is read-only.
    """
    end = data.find(b"\r\n")
    line = _REQUEST_LINE(data, 0, end)
    if line is None or not data.endswith(b"\r\n\r\n"):
        return None
    found = _request_lines(data[end + 2 : -2])
    if found is None:
        return None
    headers, passing = found
    return RequestHead(line[1], line[2], "1.1", headers, True, False, data, passing)


@lru_cache(maxsize=256)
def _known(head: bytes) -> _Known | None:
    """``head`` is without the values of its own, and without the end of its last line."""
    first, *lines = head.split(b"\r\n")
    status = _STATUS_LINE(first)
    found = _read(lines, HOP_BY_HOP)
    if status is None or found is None:
        return None
    code, length = int(status[1]), _body_length(found.noted)
    if code in _NO_BODY or length is None:
        return None
    return _Known(code, status[2], len(first) + 2, found.noted, found.bound, length)


def _body_length(noted: dict[bytes, bytes]) -> int | None:
    """None unless the body's length is plain, or it comes in chunks."""
    length, coding = noted.get(b"content-length"), noted.get(b"transfer-encoding")
    if length is None:
        return CHUNKED if coding == b"chunked" else None
    return int(length) if coding is None and _LENGTH(length) else None


def plain_response(data: bytes) -> tuple[bytes, ResponseHead, int] | None:
    """The head at the beginning of a response, as it came and as it reads, and the body's length or CHUNKED.

    Not for the response to HEAD, nor for one whose body ends with the connection.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_PLAIN)
    if end < 0:
        return None
    head = data[: end + 2]
    for begin in _OWN:
        at = head.find(begin)
        if at >= 0:
            at += len(begin)
            stop = head.find(b"\r\n", at)
            if _VALUE(head, at, stop) is None:
                return None
            head = head[:at] + b"*" + head[stop:]
    known = _known(head[:-2])
    if known is None:
        return None
    status, reason, begins, noted, bound, length = known
    lines = data[begins : end + 2]
    passing = _without(lines, bound), noted
    return data[: end + 4], ResponseHead(status, reason, lines, True, True, passing), length
