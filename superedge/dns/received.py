"""Answers of other servers, read. Pure.

Sources: RFC 1035 section 4, RFC 2308 (negative answers), RFC 6891 section 6.1 (OPT).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from superedge.dns.packing import Record
from superedge.dns.wire import ANY, CNAME, HEADER, NOERROR, NS, NXDOMAIN, OPT, PTR, SOA, SRV
from superedge.interfaces import Answer, Question

_MX, _DNAME, _RP, _AFSDB, _NAPTR = 15, 39, 17, 18, 35
_NAMES_AT = {NS: 0, CNAME: 0, PTR: 0, _DNAME: 0, _MX: 2, _AFSDB: 2, SRV: 6}
"""Where in the data of a type its one name begins; the name is the data's end."""
_TWO_NAMES = frozenset({SOA, _RP})
_RECORD = struct.Struct(">HHIH")


class _Place(NamedTuple):
    """Where a record is in the bytes behind the question."""

    begin: int
    head: int
    kind: int
    ttl: int
    end: int


def received(data: bytes, question: Question, source: str) -> Answer:
    """A message as an answer, without its OPT record. Raises ValueError for what is no message."""
    begin = HEADER + len(question.section)
    answers, authorities, additional = struct.unpack_from(">3H", data, 6)
    records = data[begin:]
    flags = data[2] << 8 | data[3]
    kept = answers + authorities
    end = 0
    for number, place in enumerate(_places(records, answers + authorities + additional)):
        if place.kind == OPT:
            # What stands behind it might point to names before it; additional records are a courtesy.
            additional = number - answers - authorities
            break
        end = place.end
        kept = number + 1
    if kept < answers + authorities:
        raise ValueError("an OPT record among the answers")
    return Answer(
        flags & 0x0F,
        (answers, authorities, additional),
        records[:end],
        bool(flags & 0x0400),
        bool(flags & 0x0020),
        bool(flags & 0x0200),
        source=source,
    )


def _places(records: bytes, count: int) -> Iterator[_Place]:
    """Each of ``count`` records. Raises ValueError when there are not that many."""
    at = 0
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
            at += 1
            kind, _, ttl, length = _RECORD.unpack_from(records, at)
            end = at + _RECORD.size + length
            if end > len(records):
                raise ValueError("a record is cut short")
            yield _Place(begin, at, kind, ttl, end)
            at = end
    except (IndexError, struct.error):
        raise ValueError("a record is cut short") from None


class Lifetime(NamedTuple):
    """For how many seconds an answer may be kept, and where its TTLs are in the records."""

    seconds: int
    negative: bool
    ttls: tuple[int, ...]


def lifetime(answer: Answer, kind: int) -> Lifetime | None:
    """Of an answer to a question of type ``kind``; None when it may not be kept."""
    if answer.code not in (NOERROR, NXDOMAIN) or answer.truncated:
        return None
    answers, authorities, _ = answer.counts
    offsets, least, soa, found = [], 0xFFFFFFFF, None, False
    for number, place in enumerate(_places(answer.records, sum(answer.counts))):
        offsets.append(place.head + 4)
        least = min(least, place.ttl)
        if number < answers:
            found = found or kind in (place.kind, ANY)
        elif number < answers + authorities and place.kind == SOA:
            minimum = int.from_bytes(answer.records[place.end - 4 : place.end], "big")
            soa = min(place.ttl, minimum)
    if found and answer.code == NOERROR:
        return Lifetime(_sane(least), False, tuple(offsets))
    if soa is None:
        return None  # RFC 2308 section 5
    return Lifetime(_sane(min(soa, least)), True, tuple(offsets))


def _sane(ttl: int) -> int:
    """A TTL with its highest bit set counts as 0 (RFC 2181 section 8)."""
    return 0 if ttl >= 1 << 31 else ttl


def with_ttls(records: bytes, ttls: tuple[int, ...], at_most: int, less: int = 0) -> bytes:
    """The records with each TTL ``less`` seconds shorter and not above ``at_most``."""
    aged = bytearray(records)
    for offset in ttls:
        ttl = int.from_bytes(records[offset : offset + 4], "big")
        aged[offset : offset + 4] = max(0, min(ttl - less, at_most)).to_bytes(4, "big")
    return bytes(aged)


def expanded(question: Question, answer: Answer) -> tuple[list[Record], list[Record], list[Record]]:
    """The records of each section, no name in them compressed. Raises ValueError."""
    message = bytes(HEADER) + question.name + question.section[-4:] + answer.records
    begin = HEADER + len(question.section)
    found = [_expanded(message, begin, place) for place in _places(answer.records, sum(answer.counts))]
    answers, authorities, _ = answer.counts
    return found[:answers], found[answers : answers + authorities], found[answers + authorities :]


def _expanded(message: bytes, begin: int, place: _Place) -> Record:
    data_at, end = begin + place.head + _RECORD.size, begin + place.end
    owner, _ = _name_at(message, begin + place.begin)
    at = _NAMES_AT.get(place.kind)
    data = message[data_at:end]
    if at is not None:
        data = data[:at] + _name_at(message, data_at + at)[0]
    elif place.kind in _TWO_NAMES:
        first, behind = _name_at(message, data_at)
        second, behind = _name_at(message, behind)
        data = first + second + message[behind:end]
    return Record(owner, place.kind, place.ttl, data)


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
