"""Records packed behind a question, with names compressed (RFC 1035 section 4.1.4). Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from superedge.dns.wire import HEADER, IN, NOERROR, SOA, ancestors
from superedge.interfaces import Answer, Question

_MAX_POINTER = 0x3FFF
_RECORD = struct.Struct(">HHIH")


class Record(NamedTuple):
    """A resource record of class IN; names in it are in wire form. ``data`` is packed and not compressed."""

    owner: bytes
    kind: int
    ttl: int
    data: bytes


def packed(
    question: Question,
    answers: Sequence[Record] = (),
    authorities: Sequence[Record] = (),
    additional: Sequence[Record] = (),
    *,
    code: int = NOERROR,
    authoritative: bool = True,
    until: float = 0.0,
    source: str = "",
) -> Answer:
    """An answer with these records, whose owners' names are compressed."""
    offsets: dict[bytes, int] = {}
    at = HEADER
    for name in ancestors(question.name)[:-1]:
        offsets[name] = at
        at += 1 + name[0]
    pieces: list[bytes] = []
    at = HEADER + len(question.section)
    for record in (*answers, *authorities, *additional):
        owner = _compressed(record.owner, offsets, at)
        pieces += (owner, _RECORD.pack(record.kind, IN, record.ttl, len(record.data)), record.data)
        at += len(owner) + _RECORD.size + len(record.data)
    counts = (len(answers), len(authorities), len(additional))
    return Answer(code, counts, b"".join(pieces), authoritative, until=until, source=source)


def _compressed(name: bytes, offsets: dict[bytes, int], at: int) -> bytes:
    """The name with its longest known end as a pointer; its other ends are known from now on."""
    used = 0
    for end in ancestors(name)[:-1]:
        known = offsets.get(end)
        if known is not None:
            return name[:used] + (0xC000 | known).to_bytes(2, "big")
        if at + used <= _MAX_POINTER:
            offsets[end] = at + used
        used += 1 + end[0]
    return name


def soa_record(zone: bytes, ttl: int, server: bytes, serial: int) -> Record:
    """The SOA of a zone, its negative answers kept for ``ttl`` seconds (RFC 2308 section 5)."""
    numbers = struct.pack(">5I", serial & 0xFFFFFFFF, 7200, 1800, 86400, ttl)
    return Record(zone, SOA, ttl, server + b"\x0ahostmaster" + zone + numbers)
