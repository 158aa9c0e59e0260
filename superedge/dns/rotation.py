"""The addresses of an answer, another one of them first each time, so that clients share them out. Pure.

Most clients connect to the first address. Compare CoreDNS's plugin loadbalance.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from superedge.dns.wire import AAAA, HEADER, OPT_SIZE, A, name_end
from superedge.interfaces import Answer, Question

_RECORD = struct.Struct(">HHIH")


class Addresses(NamedTuple):
    """Address records in a row, in the bytes behind the id: where they begin and end, the size of each."""

    begin: int
    end: int
    size: int


def find_addresses(question: Question, answer: Answer, rest: bytes) -> Addresses | None:
    """Those of an answer, if nothing is behind them. ``rest`` is the message behind its id."""
    if answer.counts[0] < 2 or answer.counts[1] or answer.counts[2]:
        return None
    end = len(rest) - (OPT_SIZE if question.size else 0)
    try:
        return _find(rest, HEADER - 2 + len(question.section), end)
    except (IndexError, ValueError, struct.error):
        return None  # an upstream server's, passed on as it is


def _find(rest: bytes, at: int, end: int) -> Addresses | None:
    while at < end:
        head = name_end(rest, at)
        kind, _, _, length = _RECORD.unpack_from(rest, head)
        data = head + _RECORD.size
        if kind in (A, AAAA):
            size = data + length - at
            count, odd = divmod(end - at, size)
            # Whether all have the same owner, type, class and TTL.
            alike = all(rest[each:end:size] == rest[each : each + 1] * count for each in range(at, data))
            return Addresses(at, end, size) if count > 1 and not odd and alike else None
        at = data + length
    return None


def turned(rest: bytes, found: Addresses, places: int) -> bytes:
    """The message with the first ``places`` addresses behind the others."""
    begin, end, size = found
    first = begin + places % ((end - begin) // size) * size
    return b"".join((rest[:begin], rest[first:end], rest[begin:first], rest[end:]))
