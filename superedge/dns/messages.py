"""DNS messages in and out. Pure.

Sources: RFC 1035 section 4, RFC 6891 (EDNS), RFC 2308 section 2 (negative answers).
"""

from __future__ import annotations

import struct

from dnslib import QTYPE, RCODE, RR, SOA, DNSHeader, DNSLabel, DNSQuestion, DNSRecord

MAX_UDP = 1232
"""Bytes of the largest UDP answer, whatever the client takes: what passes every path unfragmented."""
PLAIN_UDP = 512
MAX_NAME = 254
"""Bytes of a name without its last, empty label (RFC 1035 section 3.1)."""
MAX_LABEL = 63
_HEADER = 12
_POINTER = 0xC0


def parse_query(data: bytes) -> DNSRecord | None:
    """A question; None for what is no question at all and gets no answer. Raises ValueError: FORMERR.

    Of the records behind the question the OPT record's size alone is kept.
    """
    if len(data) < _HEADER or data[2] & 0x80:
        return None
    identity, flags, questions, *others = struct.unpack_from(">6H", data)
    if questions != 1:
        raise ValueError(f"{questions} questions")
    try:
        labels, at = _read_name(data, _HEADER)
        query = DNSRecord(DNSHeader(id=identity, bitmap=flags))
        query.add_question(DNSQuestion(DNSLabel(labels), *struct.unpack_from(">HH", data, at)))
        at += 4
        for _ in range(sum(others)):
            at = _skip_name(data, at)
            kind, size, _, length = struct.unpack_from(">HHIH", data, at)
            at += 10 + length
            if kind == QTYPE.OPT and not query.ar:
                query.add_ar(RR(rtype=kind, rclass=size, rdata=[]))
    except (IndexError, struct.error):
        raise ValueError("it is cut short") from None
    if at > len(data):
        raise ValueError("it is cut short")
    return query


def _read_name(data: bytes, at: int) -> tuple[list[bytes], int]:
    """The labels of a name, and where it ends. In the question there is nothing that it could point to."""
    labels: list[bytes] = []
    begin = at
    while size := data[at]:
        if size > MAX_LABEL:
            raise ValueError("a label of more than 63 bytes")
        labels.append(data[at + 1 : at + 1 + size])
        at += 1 + size
        if at - begin > MAX_NAME:
            raise ValueError("a name of more than 255 bytes")
    return labels, at + 1


def _skip_name(data: bytes, at: int) -> int:
    """Where a name ends. It is not followed: names that point to each other cost more than they are long."""
    begin = at
    while size := data[at]:
        if size >= _POINTER:
            return at + 2
        if size > MAX_LABEL:
            raise ValueError("a label of more than 63 bytes")
        at += 1 + size
        if at - begin > MAX_NAME:
            raise ValueError("a name of more than 255 bytes")
    return at + 1


def format_error(data: bytes) -> bytes:
    """The answer to a question that cannot be read."""
    header = DNSHeader(id=int.from_bytes(data[:2], "big"), qr=1, rcode=RCODE.FORMERR)
    return bytes(DNSRecord(header).pack())


def failure(query: DNSRecord, code: int) -> DNSRecord:
    """An answer without any records."""
    answer = query.reply(ra=1, aa=0)
    answer.header.rcode = code
    return answer


def negative(query: DNSRecord, name: str, ttl: int) -> DNSRecord:
    """NODATA: the name is there and has nothing of this type."""
    answer = query.reply(ra=1, aa=1)
    soa = SOA(name, name, (1, 3600, 600, 86400, ttl))
    answer.add_auth(RR(name, QTYPE.SOA, ttl=ttl, rdata=soa))
    return answer


def udp_size(query: DNSRecord) -> int:
    """Bytes that the client takes over UDP."""
    for record in query.ar:
        if record.rtype == QTYPE.OPT:
            return max(PLAIN_UDP, min(int(record.rclass), MAX_UDP))
    return PLAIN_UDP


def pack(answer: DNSRecord, limit: int | None) -> bytes:
    """The answer on the wire; over ``limit`` bytes, its question alone with TC set: ask over TCP."""
    packed = bytes(answer.pack())
    if limit is None or len(packed) <= limit:
        return packed
    short = DNSRecord(answer.header, questions=answer.questions)
    short.header.tc = 1
    return bytes(short.pack())


def answers(data: bytes, query: bytes) -> bool:
    """Whether ``data`` is an answer to the packed ``query``: the same id and question, case kept."""
    if len(data) < _HEADER or data[:2] != query[:2] or not data[2] & 0x80:
        return False
    end = _question_end(query)
    return data[4:6] == query[4:6] and data[_HEADER:end] == query[_HEADER:end]


def _question_end(query: bytes) -> int:
    at = _HEADER
    while at < len(query) and query[at]:
        at += query[at] + 1
    return at + 5


def is_truncated(data: bytes) -> bool:
    """Whether the answer says that there is more over TCP."""
    return bool(data[2] & 0x02)
