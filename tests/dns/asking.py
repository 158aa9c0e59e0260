"""Questions for resolvers, and their answers as dnslib reads them."""

from __future__ import annotations

from dnslib import EDNS0, QTYPE, DNSRecord

from superedge.dns.wire import parse_question, render
from superedge.interfaces import Answer, Question


def question(name: str, kind: str = "A", size: int = 0) -> Question:
    query = DNSRecord.question(name, kind)
    if size:
        query.add_ar(EDNS0(udp_len=size))
    parsed = parse_question(bytes(query.pack()))
    assert parsed is not None
    return parsed


def read(asked: Question, answer: Answer, limit: int | None = None) -> DNSRecord:
    return DNSRecord.parse(b"\0\0" + render(asked, answer, limit))


def lines(message: DNSRecord) -> list[str]:
    """The answer section, one ``name type data`` a record."""
    return [f"{rr.rname} {QTYPE[rr.rtype]} {rr.rdata}" for rr in message.rr]
