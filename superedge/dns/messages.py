"""DNS messages in and out. Pure.

Sources: RFC 1035 section 4, RFC 6891 (EDNS), RFC 2308 section 2 (negative answers).
"""

from __future__ import annotations

from dnslib import QTYPE, RCODE, RR, SOA, DNSHeader, DNSLabel, DNSQuestion, DNSRecord

from superedge.dns.wire import (
    FORMERR,
    HEADER,
    MAX_MESSAGE,
    MAX_UDP,
    NOTIMP,
    PLAIN_UDP,
    REFUSED,
    SERVFAIL,
    labels,
    parse_question,
)

UNWILLING = frozenset({FORMERR, SERVFAIL, NOTIMP, REFUSED})
"""RCODEs that say something about the server, not about the name."""


def parse_query(data: bytes) -> DNSRecord | None:
    """A question; None for what is no question at all and gets no answer. Raises ValueError: FORMERR.

    Of the records behind the question the OPT record's size alone is kept.
    """
    question = parse_question(data)
    if question is None:
        return None
    query = DNSRecord(DNSHeader(id=int.from_bytes(data[:2], "big"), bitmap=question.flags))
    spelled = DNSLabel(labels(question.section))
    query.add_question(DNSQuestion(spelled, question.kind, question.qclass))
    if question.size:
        query.add_ar(RR(rtype=QTYPE.OPT, rclass=question.size, rdata=[]))
    return query


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
    """The answer on the wire; over ``limit`` bytes, 65535 for None, its question alone with TC set."""
    packed = bytes(answer.pack())
    if len(packed) <= (MAX_MESSAGE if limit is None else limit):
        return packed
    short = DNSRecord(answer.header, questions=answer.questions)
    short.header.tc = 1
    return bytes(short.pack())


def question_section(question: bytes) -> bytes:
    """The question section of a packed question, which is given without its id. Raises ValueError."""
    end = HEADER - 2
    try:
        while size := question[end]:
            end += size + 1
    except IndexError:
        raise ValueError("it is cut short") from None
    return question[HEADER - 2 : end + 5]


def answers(data: bytes, section: bytes) -> bool:
    """Whether ``data`` is an answer to the one question of ``section``, its case kept.

    Old servers answer what they do not understand, such as EDNS, with a header alone.
    """
    if len(data) < HEADER or not data[2] & 0x80:
        return False
    if data[4:] == bytes(8):
        return data[3] & 0x0F in UNWILLING
    return data[4:6] == b"\0\1" and data.startswith(section, HEADER)


def is_truncated(data: bytes) -> bool:
    """Whether the answer says that there is more over TCP."""
    return bool(data[2] & 0x02)
