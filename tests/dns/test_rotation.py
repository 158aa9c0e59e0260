"""Clients are given another address first each time."""

from __future__ import annotations

from collections.abc import Sequence

from dnslib import DNSRecord
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.dns.packing import Record, packed
from superedge.dns.rotation import find_addresses, turned
from superedge.dns.wire import AAAA, SOA, SRV, A, render
from superedge.interfaces import Answer
from tests.dns.asking import question

OWNER = b"\1a\7example\0"


def record(number: int, kind: int = A, owner: bytes = OWNER, ttl: int = 5) -> Record:
    return Record(owner, kind, ttl, bytes([10, 0, 0, number] * (1 if kind == A else 4)))


class RotationTests(SynchronousTestCase):
    def orders(self, *records: Record, size: int = 0, behind: Sequence[Record] = ()) -> list[list[str]]:
        """The data of the answer section, for each turn."""
        return self.orders_of(packed(question("a.example"), records, behind), size)

    def orders_of(self, answer: Answer, size: int = 0) -> list[list[str]]:
        asked = question("A.example", size=size)
        rest = render(asked, answer, None)
        found = find_addresses(asked, answer, rest)
        messages = [rest] if found is None else [turned(rest, found, places) for places in range(4)]
        return [[str(rr.rdata) for rr in DNSRecord.parse(b"\0\0" + each).rr] for each in messages]

    def test_each_is_the_first_in_turn(self) -> None:
        orders = ((1, 2, 3), (2, 3, 1), (3, 1, 2), (1, 2, 3))
        expected = [[f"10.0.0.{number}" for number in order] for order in orders]
        for size in (0, 1232):
            self.assertEqual(self.orders(*map(record, (1, 2, 3)), size=size), expected)
        six = self.orders(record(1, AAAA), record(2, AAAA))
        self.assertEqual([each[0][-1] for each in six], ["1", "2", "1", "2"])

    def test_an_alias_stays_before_them(self) -> None:
        # The name in the first record's data is 39 bytes from the message's begin.
        alias = b"\xc0\x0c\0\5\0\1\0\0\0\5\0\3\1b\0"
        addresses = [b"\xc0\x27\0\1\0\1\0\0\0\5\0\4\n\0\0" + bytes([number]) for number in (1, 2)]
        found = self.orders_of(Answer(0, (3, 0, 0), b"".join([alias, *addresses])))
        self.assertEqual([each[0] for each in found], ["b."] * 4)
        self.assertEqual([each[1] for each in found], ["10.0.0.1", "10.0.0.2"] * 2)

    def test_what_is_not_turned(self) -> None:
        soa = [Record(OWNER, SOA, 5, b"\0\0" + bytes(20))]
        service = Record(OWNER, SRV, 5, b"\0\0\0\1\0P\1b\0")
        for records in (
            [record(1)],
            [record(1), record(2, AAAA)],
            [record(1), record(2, owner=b"\1b\0")],
            [record(1), record(2, ttl=6)],
            [service, service],
        ):
            self.assertEqual(len(self.orders(*records)), 1, records)
        self.assertEqual(len(self.orders(record(1), record(2), behind=soa)), 1)

    @given(st.binary(max_size=80), st.integers(2, 5), st.booleans())
    def test_any_records_are_turned_or_left(self, records: bytes, count: int, edns: bool) -> None:
        asked = question("a.example", size=1232 if edns else 0)
        answer = Answer(0, (count, 0, 0), records)
        rest = render(asked, answer, None)
        found = find_addresses(asked, answer, rest)
        if found is not None:
            self.assertEqual(sorted(turned(rest, found, 1)), sorted(rest))
