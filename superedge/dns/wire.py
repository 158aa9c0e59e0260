"""Questions read by hand and answers put together: what a server does for every packet. Pure.

Sources: RFC 1035 section 4, RFC 6891 (EDNS), RFC 3225 (DO).
"""

from __future__ import annotations

import struct

from superedge.interfaces import Answer, Question

MAX_UDP = 1232
"""Bytes of the largest UDP answer, whatever the client takes: what passes every path unfragmented."""
PLAIN_UDP = 512
MAX_MESSAGE = 65535
HEADER = 12
MAX_NAME = 254
"""Bytes of a name without its last, empty label (RFC 1035 section 3.1)."""
MAX_LABEL = 63

RESPONSE, OPCODE, AUTHORITATIVE, TRUNCATED = 0x8000, 0x7800, 0x0400, 0x0200
RECURSION_DESIRED, RECURSION_AVAILABLE, AUTHENTIC, CHECKING_DISABLED = 0x0100, 0x0080, 0x0020, 0x0010

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 255
IN, ANY_CLASS = 1, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
BADVERS = 16

_POINTER = 0xC0
_ALONE = b"\0\1\0\0\0\0\0\0"
_COUNTS = struct.Struct(">4H")
_RECORD = struct.Struct(">HHIH")
_DNSSEC_OK = 0x8000
OPT_SIZE = 1 + _RECORD.size
"""Bytes of the OPT record of an answer."""


def parse_question(data: bytes) -> Question | None:
    """A question; None for what is no question at all and gets no answer. Raises ValueError: FORMERR.

    Of the records behind the question the OPT record alone is read.
    """
    if len(data) < HEADER or data[2] & 0x80:
        return None
    counts = data[4:12]
    if counts[:2] != b"\0\1":
        raise ValueError(f"{int.from_bytes(counts[:2], 'big')} questions")
    try:
        end = name_end(data, HEADER, pointers=False) + 4
        size, extended = (0, 0) if counts == _ALONE else _read_opt(data, end, counts)
    except (IndexError, struct.error):
        raise ValueError("it is cut short") from None
    if len(data) < end:
        raise ValueError("it is cut short")
    section = data[HEADER:end]
    return Question(
        section[:-4].lower(),
        section[-4] << 8 | section[-3],
        section[-2] << 8 | section[-1],
        section,
        data[2] << 8 | data[3],
        size,
        bool(extended & _DNSSEC_OK),
        extended >> 16 & 0xFF,
    )


def _read_opt(data: bytes, at: int, counts: bytes) -> tuple[int, int]:
    """The payload size, 0 without an OPT record, and what stands in the place of its TTL."""
    size, found = 0, 0
    for _ in range(sum(_COUNTS.unpack(counts)[1:])):
        at = name_end(data, at)
        kind, payload, extended, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size + length
        if kind == OPT:
            if size:
                raise ValueError("two OPT records")
            size, found = max(payload, PLAIN_UDP), extended
    if at > len(data):
        raise ValueError("it is cut short")
    return size, found


def name_end(data: bytes, at: int, pointers: bool = True) -> int:
    """Where a name ends. It is not followed: names that point to each other cost more than they are long.

    In a question there is nothing that it could point to.
    """
    begin = at
    while size := data[at]:
        if pointers and size >= _POINTER:
            return at + 2
        if size > MAX_LABEL:
            raise ValueError("a label of more than 63 bytes")
        at += 1 + size
        if at - begin > MAX_NAME:
            raise ValueError("a name of more than 255 bytes")
    return at + 1


def udp_limit(question: Question) -> int:
    """Bytes that the client takes over UDP."""
    return min(question.size or PLAIN_UDP, MAX_UDP)


def render(question: Question, answer: Answer, limit: int | None) -> bytes:
    """The message behind its id, of ``limit`` bytes at most, 65535 for None.

    Records that do not fit are left out from the end. TC tells of it, unless they are additional ones
    (RFC 2181 section 9). Resolvers that do not ask again over TCP use those that are there.
    """
    asked = question.flags
    flags = RESPONSE | RECURSION_AVAILABLE | asked & (OPCODE | RECURSION_DESIRED | CHECKING_DISABLED)
    flags |= answer.code & 0x0F
    if answer.authoritative:
        flags |= AUTHORITATIVE
    if answer.authentic and (question.dnssec_ok or asked & AUTHENTIC):
        flags |= AUTHENTIC
    answers, authorities, additional = answer.counts
    records = answer.records
    opt = b""
    if question.size:
        high = answer.code >> 4 << 24
        opt = b"\0" + _RECORD.pack(OPT, MAX_UDP, high | (_DNSSEC_OK if question.dnssec_ok else 0), 0)
    room = (MAX_MESSAGE if limit is None else limit) - HEADER - len(question.section)
    if len(records) > MAX_MESSAGE - HEADER - len(question.section) - len(opt):
        opt = b""
    room -= len(opt)
    cut = answer.truncated
    if len(records) > room:
        kept, end = _fitting(records, max(room, 0))
        records = records[:end]
        cut = cut or kept < answers + authorities
        answers, authorities = min(answers, kept), min(authorities, max(0, kept - answers))
        additional = kept - answers - authorities
    if cut:
        flags |= TRUNCATED
    head = struct.pack(">5H", flags, 1, answers, authorities, additional + bool(opt))
    return b"".join((head, question.section, records, opt))


def _fitting(records: bytes, room: int) -> tuple[int, int]:
    """How many of the records fit in ``room`` bytes, and where the last of them ends."""
    number = end = 0
    try:
        while True:
            head = name_end(records, end)
            after = head + _RECORD.size + _RECORD.unpack_from(records, head)[3]
            if after > room:
                return number, end
            number, end = number + 1, after
    except (IndexError, ValueError, struct.error):
        return number, end  # an upstream server's; nobody could read what is behind it


def labels(name: bytes) -> list[bytes]:
    """The labels of a name in wire form."""
    found, at = [], 0
    while size := name[at]:
        found.append(name[at + 1 : at + 1 + size])
        at += 1 + size
    return found


def wire_name(text: str) -> bytes:
    """A name in wire form, lower case; ``text`` has ASCII labels and no escapes. Raises ValueError."""
    try:
        parts = [part.encode("ascii") for part in text.lower().removesuffix(".").split(".") if text != "."]
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is not a DNS name: it is not ASCII") from None
    parts = [part for part in parts if part] if parts == [b""] else parts
    name = b"".join(bytes([len(part)]) + part for part in parts if len(part) <= MAX_LABEL) + b"\0"
    if any(not 0 < len(part) <= MAX_LABEL for part in parts) or len(name) > MAX_NAME + 1:
        raise ValueError(f"{text!r} is not a DNS name")
    return name


def text_name(name: bytes) -> str:
    """A name for people, with its last dot."""
    return ".".join(label.decode("latin-1") for label in labels(name)) + "."


def ancestors(name: bytes) -> list[bytes]:
    """A name in wire form and every name above it, the root last."""
    found, at = [name], 0
    while name[at]:
        at += 1 + name[at]
        found.append(name[at:])
    return found
