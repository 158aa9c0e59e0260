"""Responses from bytes, as real servers send them. Pure.

What servers write is read leniently, as curl, Go and nginx read it: bare LF, folded and padded headers, one
length said twice. What is given out is unambiguous: one length or none, and no header that says another.
Where two recipients could see different ends of a message it is refused. Source: RFC 9112 section 6.3.
"""

from __future__ import annotations

import re

from superedge.web.chunks import ChunkReader
from superedge.web.errors import MessageError
from superedge.web.fields import parse_fields, without_controls
from superedge.web.h1 import MAX_HEAD, End, Switched
from superedge.web.heads import Headers, ResponseHead, header_lines
from superedge.web.plain import CHUNKED, plain_response

_BEGINNING = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) +([1-9][0-9][0-9])(?:[ \t]+(.*))?", re.DOTALL).fullmatch
_HEAD_END = re.compile(rb"\n\r?\n").search
_DIGITS = re.compile(rb"0*([0-9]{1,18})").fullmatch
_CHUNKED = (b"Transfer-Encoding", b"chunked")
_LENGTH, _CODING, _CONNECTION = b"content-length", b"transfer-encoding", b"connection"

ResponseEvent = ResponseHead | bytes | End | Switched

_END = End([])


class ResponseReader:
    """Reads responses; say with `expect` what each one answers.

    It is fed what came in and returns events: a head, body pieces (bytes), an `End`, and after a 101
    `Switched` with what follows.
    """

    def __init__(self) -> None:
        self._head_only = False
        self._head = bytearray()
        """The beginning of a head whose end has not come."""
        self._silent = 0
        """Bytes since the last event."""
        self._left = 0
        """Bytes to come of a body of known length."""
        self._chunks: ChunkReader | None = None
        self._endless = False
        """The body ends with the connection."""
        self._problem: MessageError | None = None
        """What stands behind a whole response; raised when more is read."""
        self._last: tuple[bytes, ResponseHead, int] | None = None
        """The last plain head as it came, what it says, and the length of its body, or CHUNKED."""

    def expect(self, head_only: bool) -> None:
        """The next response is to a HEAD request: it has no body whatever its headers say."""
        self._head_only = head_only

    @property
    def between(self) -> bool:
        """Whether a response has ended and nothing came behind it."""
        busy = self._left or self._head or self._chunks is not None or self._endless
        return not busy and self._problem is None

    def feed(self, data: bytes) -> list[ResponseEvent]:
        """The events that the bytes complete. Raises MessageError; then the connection is of no use."""
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
            last = self._last
            if last is None or not data.startswith(last[0]):
                last = self._last = plain_response(data)
            if last is not None:
                raw, head, length = last
                data = data[len(raw) :]
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
            self._problem = problem  # what is whole counts, whatever comes behind it
        if events:
            self._silent = 0
        return events

    def _step(self, data: bytes, events: list[ResponseEvent]) -> bytes:
        """Read one part of a message; what of ``data`` is behind it."""
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
            self._silent = 0 if events else self._silent + len(data)
            if self._silent > MAX_HEAD:
                raise MessageError(f"headers of more than {MAX_HEAD} bytes", 431)
            return b""
        raw, rest = bytes(known[: found.start()]), bytes(known[found.end() :])
        known.clear()
        if len(raw) > MAX_HEAD:
            raise MessageError(f"headers of more than {MAX_HEAD} bytes", 431)
        return self._begin(raw, rest, events)

    def _begin(self, raw: bytes, rest: bytes, events: list[ResponseEvent]) -> bytes:
        """Take a whole head; what is behind the message when it has no body, else what is behind the head."""
        first, *lines = raw.split(b"\n")
        status_line = _STATUS_LINE(without_controls(first).rstrip(b" "))
        if status_line is None:
            raise MessageError(f"not an HTTP/1.1 message: {first[:80]!r}")
        status, reason = int(status_line[2]), (status_line[3] or b"").strip(b" \t")
        fields = parse_fields(lines)
        noted = _noted(fields)
        coded, length = _is_chunked(noted[_CODING]), _length(noted[_LENGTH])
        bodiless = self._head_only or status < 200 or status in (204, 304)
        # Two lengths, or one where no body is: another recipient might see the end elsewhere.
        doubtful = (coded and (length is not None or status_line[1] == b"0")) or (
            (status < 200 or status == 204) and (coded or bool(length))
        )
        keep_alive = _keeps_alive(noted[_CONNECTION], status_line[1] != b"0") and not doubtful
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


def _noted(fields: Headers) -> dict[bytes, list[bytes]]:
    """The members of the fields that tell where a message ends, in lower case (RFC 9110 section 5.6.1)."""
    found: dict[bytes, list[bytes]] = {_LENGTH: [], _CODING: [], _CONNECTION: []}
    for name, value in fields:
        members = found.get(name.lower())
        if members is not None:
            members += [member.strip(b" \t").lower() for member in value.split(b",")]
    return found


def _is_chunked(said: list[bytes]) -> bool:
    codings = [coding for coding in said if coding not in (b"", b"identity")]
    if not codings:
        return False
    if codings != [b"chunked"]:
        raise MessageError("a Transfer-Encoding other than chunked")
    return True


def _length(said: list[bytes]) -> int | None:
    if not said:
        return None
    found = {None if (match := _DIGITS(value)) is None else int(match[1]) for value in said}
    length = found.pop()
    if length is None or found:
        raise MessageError(f"not a Content-Length: {b', '.join(said)[:80]!r}")
    return length


def _keeps_alive(said: list[bytes], persistent: bool) -> bool:
    return b"close" not in said and (persistent or b"keep-alive" in said)


def _with_one_length(fields: Headers, coded: bool, length: int | None) -> Headers:
    """The fields with the message's length said once."""
    if not (coded or length is not None):
        return [pair for pair in fields if pair[0].lower() not in (_LENGTH, _CODING)]
    kept: Headers = []
    said = False
    for pair in fields:
        if pair[0].lower() not in (_LENGTH, _CODING):
            kept.append(pair)
        elif not said:
            said = True
            kept.append(_CHUNKED if coded else (b"Content-Length", b"%d" % (length or 0)))
    return kept
