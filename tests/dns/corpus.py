"""Packets that are no good questions, and what is said of each."""

from __future__ import annotations

from typing import NamedTuple

from dnslib import RCODE, DNSRecord

GOOD = bytes(DNSRecord.question("edge-1").pack())
HEAD, END = GOOD[:12], b"\0\x01\0\x01"
"""A header with one question; type A and class IN."""
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


class Packet(NamedTuple):
    what: str
    data: bytes
    code: int | None
    """The answer's RCODE, None where there is no answer."""


def counted(questions: int = 1, answers: int = 0, authorities: int = 0, additional: int = 0) -> bytes:
    """A header that promises so many records."""
    counts = b"".join(count.to_bytes(2) for count in (questions, answers, authorities, additional))
    return HEAD[:4] + counts


def name(*labels: int) -> bytes:
    """A name of labels of so many bytes."""
    return b"".join(bytes([size]) + b"x" * size for size in labels) + b"\0"


FORMERR, REFUSED, OK = RCODE.FORMERR, RCODE.REFUSED, RCODE.NOERROR
CORPUS = (
    Packet("nothing", b"", None),
    Packet("less than a header", HEAD[:-1], None),
    Packet("an answer", GOOD[:2] + b"\x81" + GOOD[3:], None),
    Packet("a header alone", HEAD, FORMERR),
    Packet("no question", counted(0), FORMERR),
    Packet("two questions", counted(2) + GOOD[12:] * 2, FORMERR),
    Packet("the longest label", HEAD + name(63) + END, REFUSED),
    *(Packet(f"a label of {size} bytes", HEAD + name(size) + END, FORMERR) for size in range(64, 192)),
    Packet("a long label behind a node's name", HEAD + b"\x06edge-1" + name(70) + END, FORMERR),
    Packet("the longest name", HEAD + name(63, 63, 63, 61) + END, REFUSED),
    Packet("a name of 256 bytes", HEAD + name(63, 63, 63, 62) + END, FORMERR),
    Packet("a name that goes on and on", HEAD + name(*[1] * 10_000) + END, FORMERR),
    Packet("a name that points to itself", HEAD + b"\xc0\x0c" + END, FORMERR),
    Packet("a name that points ahead", HEAD + b"\xc0\xff" + END, FORMERR),
    Packet("a name that does not end", HEAD + b"\x06edge-1", FORMERR),
    Packet("a name cut in a label", HEAD + b"\x06edg", FORMERR),
    Packet("no type", HEAD + name(3), FORMERR),
    Packet("half a class", GOOD[:-1], FORMERR),
    Packet("a record that is not there", counted(1, 0, 0, 1) + GOOD[12:], FORMERR),
    Packet("65535 records that are not there", counted(1, 65535, 65535, 65535) + GOOD[12:], FORMERR),
    Packet("a record whose data is not there", counted(1, 0, 0, 1) + GOOD[12:] + OPT[:-1] + b"\x09", FORMERR),
    Packet("a long label behind", counted(1, 0, 0, 1) + GOOD[12:] + name(64) + OPT[1:], FORMERR),
    Packet("a long name behind", counted(1, 0, 0, 1) + GOOD[12:] + name(*[63] * 5) + OPT[1:], FORMERR),
    Packet("two OPT records", counted(1, 0, 0, 2) + GOOD[12:] + OPT * 2, FORMERR),
    Packet("an OPT record", counted(1, 0, 0, 1) + GOOD[12:] + OPT, OK),
    Packet("bytes behind the end", GOOD + b"\xff" * 40, OK),
    Packet("labels that are not text", HEAD + b"\x04\xff\x00\x5c\x2e\0" + END, REFUSED),
    Packet("a label with a dot in it", HEAD + b"\x0cedge-1.nodes\0" + END, REFUSED),
    Packet("a type that nobody knows", HEAD + b"\x07example\0\xff\xfe\0\x01", REFUSED),
    Packet("a class that nobody knows", HEAD + b"\x06edge-1\0\0\x01\x12\x34", REFUSED),
    Packet("an update", GOOD[:2] + b"\x28" + GOOD[3:], RCODE.NOTIMP),
)
