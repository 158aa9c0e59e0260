"""Parses HTTP/1.1 responses. Pure.

It is as lenient as curl, Go and nginx: it accepts bare LF, folded and padded headers, and a repeated
Content-Length of one value. Its result is unambiguous: one length or none, and no header that contradicts it.
It refuses a message whose end two recipients could see at different places. Source: RFC 9112 section 6.3.
"""

from __future__ import annotations

import re

from superedge.web.chunks import ChunkReader
from superedge.web.errors import MessageError
from superedge.web.fields import parse_fields, without_controls
from superedge.web.h1 import MAX_HEAD, End, Switched
from superedge.web.heads import Headers, ResponseHead, header_lines
from superedge.web.plain import CHUNKED, ResponseTemplate, plain_response

_BEGINNING = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) +([1-9][0-9][0-9])(?:[ \t]+(.*))?", re.DOTALL).fullmatch
_HEAD_END = re.compile(rb"\n\r?\n").search
_DIGITS = re.compile(rb"0*([0-9]{1,18})").fullmatch
_CHUNKED = (b"Transfer-Encoding", b"chunked")
_LENGTH, _CODING, _CONNECTION = b"content-length", b"transfer-encoding", b"connection"

ResponseEvent = ResponseHead | bytes | End | Switched

_END = End([])


class ResponseReader:
    """Parses consecutive responses; call `expect` before each.

    It takes received bytes and returns events: a head, parts of the body (bytes), an `End`, and after a 101 a
    `Switched` with the bytes that follow.
    """

    def __init__(self) -> None:
        self._head_only = False
        self._head = bytearray()
        """The part of an incomplete head that has arrived."""
        self._unreported = 0
        """Bytes since the last event."""
        self._left = 0
        """Bytes that have not arrived of a body with a known length."""
        self._chunks: ChunkReader | None = None
        self._endless = False
        """Whether the body ends with the connection."""
        self._problem: MessageError | None = None
        """The fault in the bytes after a complete response; raised at the next `feed`."""
        self._template: ResponseTemplate | None = None
        """That of the last plain head: most heads resemble the one before."""

    def expect(self, head_only: bool) -> None:
        """Set whether the next response answers a HEAD request; such a response never has a body."""
        self._head_only = head_only

    @property
    def idle(self) -> bool:
        """Whether a response has ended and no bytes followed it."""
        busy = self._left or self._head or self._chunks is not None or self._endless
        return not busy and self._problem is None

    def feed(self, data: bytes) -> list[ResponseEvent]:
        """The events that ``data`` completes. Raises MessageError; after that the connection is unusable."""
        if self._problem is not None:
            raise self._problem
        events: list[ResponseEvent] = []
        if self._left:
            data = self._take_body(data, events)
        elif (chunks := self._chunks) is not None:
            end = chunks.feed(data, events)
            if end < 0:
                return events
            data = self._behind_chunks(chunks, data, end, events)
        elif not (self._head or self._head_only or self._endless):
            plain = plain_response(data, self._template)
            if plain is not None:
                size, head, length, self._template = plain
                data = data[size:]
                if length and len(data) == length:
                    return [head, data, _END]
                events.append(head)
                if length == CHUNKED:
                    self._chunks = ChunkReader()
                elif length:
                    self._left = length
                else:
                    events.append(_END)
        if not data:
            return events
        try:
            while data:
                data = self._step(data, events)
        except MessageError as problem:
            if not any(type(event) is End for event in events):
                raise
            self._problem = problem  # the complete response counts, whatever follows it
        if events:
            self._unreported = 0
        return events

    def _step(self, data: bytes, events: list[ResponseEvent]) -> bytes:
        """Parse one part of a message. Returns the rest of ``data``."""
        if self._left:
            return self._take_body(data, events)
        if self._chunks is not None:
            return self._take_chunks(self._chunks, data, events)
        if self._endless:
            events.append(data)
            return b""
        return self._take_head(data, events)

    def _take_body(self, data: bytes, events: list[ResponseEvent]) -> bytes:
        left, size = self._left, len(data)
        if size < left:
            self._left -= size
            events.append(data)
            return b""
        self._left = 0
        events.append(data if size == left else data[:left])
        events.append(_END)
        return data[left:]

    def _take_chunks(self, chunks: ChunkReader, data: bytes, events: list[ResponseEvent]) -> bytes:
        end = chunks.feed(data, events)
        return b"" if end < 0 else self._behind_chunks(chunks, data, end, events)

    def _behind_chunks(
        self, chunks: ChunkReader, data: bytes, end: int, events: list[ResponseEvent]
    ) -> bytes:
        self._chunks = None
        events.append(End(chunks.trailers))
        return data[end:]

    def _take_head(self, data: bytes, events: list[ResponseEvent]) -> bytes:
        known = self._head
        scanned = max(0, len(known) - 2)
        known += data if known else data.lstrip(b"\r\n")
        if not _BEGINNING.startswith(known[: len(_BEGINNING)]):
            raise MessageError(f"not an HTTP/1.1 message: {bytes(known[:40])!r}")
        found = _HEAD_END(known, scanned)
        if found is None:
            self._unreported = 0 if events else self._unreported + len(data)
            if self._unreported > MAX_HEAD:
                raise MessageError(f"the headers exceed {MAX_HEAD} bytes", 431)
            return b""
        raw, rest = bytes(known[: found.start()]), bytes(known[found.end() :])
        known.clear()
        if len(raw) > MAX_HEAD:
            raise MessageError(f"the headers exceed {MAX_HEAD} bytes", 431)
        return self._begin(raw, rest, events)

    def _begin(self, raw: bytes, rest: bytes, events: list[ResponseEvent]) -> bytes:
        """Process a complete head. Returns the bytes after it, ``rest``, or nothing after a 101."""
        first, *lines = raw.split(b"\n")
        status_line = _STATUS_LINE(without_controls(first).rstrip(b" "))
        if status_line is None:
            raise MessageError(f"not an HTTP/1.1 message: {first[:80]!r}")
        status, reason = int(status_line[2]), (status_line[3] or b"").strip(b" \t")
        fields = parse_fields(lines)
        framing = _framing(fields)
        coded, length = _is_chunked(framing[_CODING]), _length(framing[_LENGTH])
        bodiless = self._head_only or status < 200 or status in (204, 304)
        # Two lengths, or one without a body: another recipient might see the end elsewhere.
        doubtful = (coded and (length is not None or status_line[1] == b"0")) or (
            (status < 200 or status == 204) and (coded or bool(length))
        )
        keep_alive = _keeps_alive(framing[_CONNECTION], status_line[1] != b"0") and not doubtful
        bounded = bodiless or coded or length is not None
        headers = _with_one_length(fields, coded, None if status < 200 or status == 204 else length)
        events.append(ResponseHead(status, reason, header_lines(headers), keep_alive, bounded))
        if status == 101:
            events += [_END, Switched(rest)]
            return b""
        if status >= 200:
            self._head_only = False
        if bodiless or (length == 0 and not coded):
            events.append(_END)
        elif coded:
            self._chunks = ChunkReader()
        elif length is not None:
            self._left = length
        else:
            self._endless = True
        return rest


def _framing(fields: Headers) -> dict[bytes, list[bytes]]:
    """The list members of the fields that decide where a message ends, in lower case (RFC 9110 5.6.1)."""
    found: dict[bytes, list[bytes]] = {_LENGTH: [], _CODING: [], _CONNECTION: []}
    for name, value in fields:
        members = found.get(name.lower())
        if members is not None:
            members += [member.strip(b" \t").lower() for member in value.split(b",")]
    return found


def _is_chunked(values: list[bytes]) -> bool:
    codings = [coding for coding in values if coding not in (b"", b"identity")]
    if not codings:
        return False
    if codings != [b"chunked"]:
        raise MessageError("the Transfer-Encoding is not chunked")
    return True


def _length(values: list[bytes]) -> int | None:
    if not values:
        return None
    found = {None if (match := _DIGITS(value)) is None else int(match[1]) for value in values}
    length = found.pop()
    if length is None or found:
        raise MessageError(f"not a Content-Length: {b', '.join(values)[:80]!r}")
    return length


def _keeps_alive(options: list[bytes], persistent: bool) -> bool:
    return b"close" not in options and (persistent or b"keep-alive" in options)


def _with_one_length(fields: Headers, coded: bool, length: int | None) -> Headers:
    """The fields, with exactly one that gives the message's length."""
    if not (coded or length is not None):
        return [pair for pair in fields if pair[0].lower() not in (_LENGTH, _CODING)]
    kept: Headers = []
    added = False
    for pair in fields:
        if pair[0].lower() not in (_LENGTH, _CODING):
            kept.append(pair)
        elif not added:
            added = True
            kept.append(_CHUNKED if coded else (b"Content-Length", b"%d" % (length or 0)))
    return kept
