"""A fast path for heads of the plainest form, which nearly all have. Pure.

It returns None for any other form, and the complete parsers of `superedge.web.h1` and
`superedge.web.responses` take over. Most heads differ from an earlier one in a line or two, so the parsed
form of the other lines is cached.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from functools import lru_cache
from typing import NamedTuple

from superedge.web.heads import (
    HOP_BY_HOP,
    INSPECTED,
    SERVER_BOUND,
    Forwarded,
    Headers,
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
_NOT_PLAIN = frozenset({b"upgrade", b"expect"})
_NO_BODY = frozenset({204, 304})

_VARYING = (b"\r\nAudit-Id: ", b"\r\nDate: ")
"""The beginnings of headers that have another value in each response."""
_VALUE = re.compile(rb"[!-~](?:[ -~]*[!-~])?").fullmatch


class _Lines(NamedTuple):
    """Headers; the values that a proxy inspects, by lower-case name; the lines that it does not forward."""

    headers: Headers
    inspected: dict[bytes, bytes]
    bound: list[bytes]


class PlainResponse(NamedTuple):
    """The head at the beginning of a response."""

    size: int
    """Bytes of the head."""
    head: ResponseHead
    length: int
    """Bytes of the body, or CHUNKED."""
    template: ResponseTemplate


class ResponseTemplate:
    """Reads heads that differ from a known one in the values of `_VARYING` headers only."""

    __slots__ = (
        "_begin",
        "_end",
        "_forwarded_end",
        "_inspected",
        "_length",
        "_reason",
        "_status",
        "_varying",
    )

    def __init__(
        self, head: bytes, status: int, reason: bytes, begin: int, found: _Lines, length: int
    ) -> None:
        """``head`` has an asterisk for each varying value; its header lines start at ``begin``, and they read
        as ``found``.
        """
        *before, self._end = _around_values(head + b"\r\n\r\n")
        *forwarded, self._forwarded_end = _around_values(_without(head[begin:] + b"\r\n", found.bound))
        self._varying = list(zip(before, forwarded, strict=True))
        """What comes before each varying value: in the head, and in the lines to forward."""
        self._status = status
        self._reason = reason
        self._begin = begin
        self._inspected = found.inspected
        self._length = length

    def read(self, data: bytes) -> PlainResponse | None:
        """The head that ``data`` begins with; None for another one."""
        at = 0
        forwarded: list[bytes] = []
        for before, forwarded_before in self._varying:
            if not data.startswith(before, at):
                return None
            begin = at + len(before)
            at = data.find(b"\r", begin, MAX_PLAIN)
            if _VALUE(data, begin, at) is None:
                return None
            forwarded += forwarded_before, data[begin:at]
        if not data.startswith(self._end, at):
            return None
        size = at + len(self._end)
        forwarded.append(self._forwarded_end)
        head = ResponseHead(
            self._status,
            self._reason,
            data[self._begin : size - 2],
            True,
            True,
            (b"".join(forwarded), self._inspected),
        )
        return PlainResponse(size, head, self._length, self)


def _around_values(lines: bytes) -> list[bytes]:
    """What stands before, between and behind the values of the varying headers, each of them an asterisk."""
    text = b"\r\n" + lines
    found = [text.find(begin + b"*\r\n") + len(begin) for begin in _VARYING if begin + b"*\r\n" in text]
    parts, at = [], 2
    for value in sorted(found):
        parts.append(text[at:value])
        at = value + 1
    return [*parts, text[at:]]


@lru_cache(maxsize=512)
def _field(line: bytes) -> tuple[bytes, bytes] | None:
    found = _LINE(line)
    return None if found is None else (found[1], found[2])


def _read(lines: Sequence[bytes], bound: Container[bytes]) -> _Lines | None:
    """None unless every line is plain; ``bound`` are the names of headers that are not forwarded."""
    headers: Headers = []
    inspected: dict[bytes, bytes] = {}
    left: list[bytes] = []
    for line in lines:
        pair = _field(line)
        if pair is None:
            return None
        headers.append(pair)
        low = pair[0].lower()
        if low in bound:
            left.append(line)
        elif low not in INSPECTED:
            continue
        if low in inspected or low in _NOT_PLAIN:
            return None
        inspected[low] = pair[1]
    if inspected.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    return _Lines(headers, inspected, left)


def _without(lines: bytes, bound: list[bytes]) -> bytes:
    """The encoded header lines without those in ``bound``."""
    if not bound:
        return lines
    lines = b"\n" + lines
    for line in bound:
        lines = lines.replace(b"\n%b\r\n" % line, b"\n", 1)
    return lines[1:]


@lru_cache(maxsize=256)
def _request_lines(lines: bytes) -> tuple[Headers, Forwarded] | None:
    """Parse the headers of a request, which one client repeats in all of its requests."""
    found = _read(lines[:-2].split(b"\r\n"), SERVER_BOUND)
    if found is None or b"content-length" in found.inspected or b"transfer-encoding" in found.inspected:
        return None
    return found.headers, (_without(lines, found.bound), found.inspected)


@lru_cache(maxsize=256)
def plain_request(data: bytes) -> RequestHead | None:
    """Parse exactly one complete request without a body, of at most MAX_PLAIN bytes.

    Calls share the result: it is read-only.
    """
    end = data.find(b"\r\n")
    line = _REQUEST_LINE(data, 0, end)
    if line is None or not data.endswith(b"\r\n\r\n"):
        return None
    found = _request_lines(data[end + 2 : -2])
    if found is None:
        return None
    headers, forwarded_head = found
    return RequestHead(line[1], line[2], "1.1", headers, True, False, data, forwarded_head)


@lru_cache(maxsize=256)
def _template(head: bytes) -> ResponseTemplate | None:
    """``head`` has an asterisk for each varying value, and no CRLF after its last line."""
    first, *lines = head.split(b"\r\n")
    status = _STATUS_LINE(first)
    found = _read(lines, HOP_BY_HOP)
    if status is None or found is None:
        return None
    code, length = int(status[1]), _body_length(found.inspected)
    if code in _NO_BODY or length is None:
        return None
    return ResponseTemplate(head, code, status[2], len(first) + 2, found, length)


def _body_length(noted: dict[bytes, bytes]) -> int | None:
    """None unless the body's length is plain, or it comes in chunks."""
    length, coding = noted.get(b"content-length"), noted.get(b"transfer-encoding")
    if length is None:
        return CHUNKED if coding == b"chunked" else None
    return int(length) if coding is None and _LENGTH(length) else None


def plain_response(data: bytes, template: ResponseTemplate | None = None) -> PlainResponse | None:
    """The head at the beginning of a response; ``template`` is that of one that it may resemble.

    Not for the response to HEAD, nor for one whose body ends with the connection.
    """
    if template is not None and (known := template.read(data)) is not None:
        return known
    end = data.find(b"\r\n\r\n", 0, MAX_PLAIN)
    if end < 0:
        return None
    head = data[: end + 2]
    for begin in _VARYING:
        at = head.find(begin)
        if at >= 0:
            at += len(begin)
            stop = head.find(b"\r\n", at)
            if _VALUE(head, at, stop) is None:
                return None
            head = head[:at] + b"*" + head[stop:]
    found = _template(head[:-2])
    return found.read(data) if found is not None else None
