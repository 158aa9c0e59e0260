"""Answers of other servers, read. Pure.

Sources: RFC 1035 section 4, RFC 2308 (negative answers), RFC 6891 section 6.1 (OPT), RFC 8767 section 4 (TTLs
are positive, whatever their highest bit).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from superedge.dns.packing import Record
from superedge.dns.wire import ANY, CNAME, HEADER, NOERROR, NS, NXDOMAIN, OPT, PTR, SOA, SRV
from superedge.interfaces import Answer, Question

_MX, _DNAME, _RP, _AFSDB, _NAPTR = 15, 39, 17, 18, 35
_NAMES_AT = {NS: 0, CNAME: 0, PTR: 0, _DNAME: 0, _MX: 2, _AFSDB: 2, SRV: 6}
"""Where in the data of a type its one name begins; the name is the data's end."""
_TWO_NAMES = frozenset({SOA, _RP})
MAX_TTL = 0xFFFFFFFF
_COUNTS = struct.Struct(">3H")
_RECORD = struct.Struct(">HHIH")


_Place = tuple[int, int, int, int, int]
"""Of a record in the bytes behind the question: where it begins, where its type is, type, TTL, its end."""


def received(data: bytes, question: Question, source: str) -> Answer:
    """A message as an answer, without its OPT record. Raises ValueError for what is no message."""
    answers, authorities, additional = _COUNTS.unpack_from(data, 6)
    records = data[HEADER + len(question.section) :]
    flags = data[2] << 8 | data[3]
    kept = answers + authorities
    end = number = extended = 0
    for _, _, kind, ttl, behind in _places(records, kept + additional):
        if kind == OPT:
            # What stands behind it might point to names before it; additional records are a courtesy.
            additional = number - kept
            extended = ttl >> 24 << 4
            break
        end = behind
        number += 1
    if number < kept:
        raise ValueError("an OPT record among the answers")
    return Answer(
        extended | flags & 0x0F,
        (answers, authorities, additional),
        records[:end],
        bool(flags & 0x0400),
        bool(flags & 0x0020),
        bool(flags & 0x0200),
        source=source,
    )


def _places(records: bytes, count: int) -> list[_Place]:
    """Each of ``count`` records. Raises ValueError when there are not that many."""
    at, length, unpack = 0, len(records), _RECORD.unpack_from
    found = []
    try:
        for _ in range(count):
            begin = at
            while size := records[at]:
                if size >= 0xC0:
                    at += 1
                    break
                if size > 63:
                    raise ValueError("a label of more than 63 bytes")
                at += 1 + size
            head = at + 1
            kind, _, ttl, size = unpack(records, head)
            at = head + 10 + size
            if at > length:
                raise ValueError("a record is cut short")
            found.append((begin, head, kind, ttl, at))
    except (IndexError, struct.error):
        raise ValueError("a record is cut short") from None
    return found


class Lifetime(NamedTuple):
    """For how many seconds an answer may be kept, and where its TTLs are in the records."""

    seconds: int
    longest: int
    """The highest TTL."""
    negative: bool
    ttls: tuple[int, ...]


def lifetime(answer: Answer, kind: int) -> Lifetime | None:
    """Of an answer to a question of type ``kind``; None when it may not be kept."""
    if answer.code not in (NOERROR, NXDOMAIN) or answer.truncated:
        return None
    answers, authorities, _ = answer.counts
    least, longest, soa, found = MAX_TTL, 0, None, False
    places = _places(answer.records, sum(answer.counts))
    for number, (_, _, each, ttl, end) in enumerate(places):
        least = min(least, ttl)
        longest = max(longest, ttl)
        if number < answers:
            found = found or kind in (each, ANY)
        elif number < answers + authorities and each == SOA:
            soa = min(ttl, int.from_bytes(answer.records[end - 4 : end], "big"))
    ttls = tuple([place[1] + 4 for place in places])
    if found and answer.code == NOERROR:
        return Lifetime(least, longest, False, ttls)
    if soa is None:
        return None  # RFC 2308 section 5
    return Lifetime(min(soa, least), longest, True, ttls)


def with_ttls(
    records: bytes, ttls: tuple[int, ...], less: int = 0, at_least: int = 0, at_most: int = MAX_TTL
) -> bytes:
    """The records with each TTL ``less`` seconds shorter, and within limits."""
    aged = bytearray(records)
    for offset in ttls:
        ttl = int.from_bytes(records[offset : offset + 4], "big") - less
        aged[offset : offset + 4] = max(at_least, min(ttl, at_most)).to_bytes(4, "big")
    return bytes(aged)


def expanded(question: Question, answer: Answer) -> tuple[list[Record], list[Record], list[Record]]:
    """The records of each section, no name in them compressed. Raises ValueError."""
    message = bytes(HEADER) + question.name + question.section[-4:] + answer.records
    begin = HEADER + len(question.section)
    found = [_expanded(message, begin, place) for place in _places(answer.records, sum(answer.counts))]
    answers, authorities, _ = answer.counts
    return found[:answers], found[answers : answers + authorities], found[answers + authorities :]


def _expanded(message: bytes, begin: int, place: _Place) -> Record:
    first, head, kind, ttl, behind = place
    data_at, end = begin + head + _RECORD.size, begin + behind
    owner, _ = _name_at(message, begin + first)
    at = _NAMES_AT.get(kind)
    data = message[data_at:end]
    if at is not None:
        data = data[:at] + _name_at(message, data_at + at)[0]
    elif kind in _TWO_NAMES:
        one, behind = _name_at(message, data_at)
        other, behind = _name_at(message, behind)
        data = one + other + message[behind:end]
    return Record(owner, kind, ttl, data)


def _name_at(message: bytes, at: int) -> tuple[bytes, int]:
    """A name with its pointers followed, and where it ends. Raises ValueError for one that goes on and on."""
    pieces: list[bytes] = []
    behind, whole = 0, 0
    try:
        while size := message[at]:
            if size >= 0xC0:
                target = (size & 0x3F) << 8 | message[at + 1]
                behind = behind or at + 2
                if target >= at:
                    raise ValueError("a name that points ahead")
                at = target
                continue
            pieces.append(message[at : at + 1 + size])
            whole += 1 + size
            if size > 63 or whole > 254:
                raise ValueError("a name of more than 255 bytes")
            at += 1 + size
    except IndexError:
        raise ValueError("a name is cut short") from None
    return b"".join(pieces) + b"\0", behind or at + 1
