from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.health.votes.ballot import Ballot, Opinion, Refused, Row, decode_ballot, encode_ballot
from tests.health.voters import NOW, ballot

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-.0123456789", min_size=1, max_size=40)
ROWS = st.builds(Row, NAMES, st.sampled_from(Opinion), st.integers(0, 100), st.integers(0, 10**9))


class BallotTests(SynchronousTestCase):
    @given(
        NAMES, NAMES, st.integers(1, 2**53 - 1), st.lists(ROWS, max_size=30, unique_by=lambda row: row.peer)
    )
    def test_what_was_encoded_is_read(self, voter: str, unit: str, sequence: int, rows: list[Row]) -> None:
        made = Ballot(1, voter, unit, sequence, NOW, NOW + 1, tuple(sorted(rows, key=lambda row: row.peer)))
        self.assertEqual(decode_ballot(encode_ballot(made)), made)

    @given(st.binary(max_size=300))
    def test_any_bytes_are_a_ballot_or_refused(self, data: bytes) -> None:
        try:
            found = decode_ballot(data)
        except Refused as problem:
            self.assertEqual(problem.reason, "malformed")
        else:
            self.assertEqual(encode_ballot(found), data)

    @given(st.integers(0, 10**6), st.integers(0, 255))
    def test_one_byte_changed_gives_another_ballot_or_none(self, place: int, value: int) -> None:
        made = ballot("edge-1", {"edge-2": Opinion.HEALTHY, "edge-3": Opinion.UNHEALTHY})
        data = bytearray(encode_ballot(made))
        place %= len(data)
        changed = data[place] != value
        data[place] = value
        try:
            found = decode_ballot(bytes(data))
        except Refused:
            return
        self.assertEqual(found != made, changed)

    def refuse(self, item: object) -> None:
        self.assertEqual(
            self.assertRaises(Refused, decode_ballot, msgspec.msgpack.encode(item)).reason, "malformed"
        )

    def test_what_is_out_of_bounds(self) -> None:
        good = ["edge-2", 1, 100, 0]

        def item(**other: object) -> list[object]:
            fields: dict[str, object] = {
                "version": 1, "voter": "edge-1", "unit": "shop", "sequence": 7, "issued": NOW,
                "expires": NOW + 1000, "rows": [good],
            }  # fmt: skip
            return list((fields | other).values())

        decode_ballot(msgspec.msgpack.encode(item()))
        self.refuse(item(version=2))
        self.refuse(item(voter=""))
        self.refuse(item(voter="x" * 254))
        self.refuse(item(unit="x" * 254))
        self.refuse(item(sequence=0))
        self.refuse(item(sequence=2**53))
        self.refuse(item(issued=0))
        self.refuse(item(expires=NOW))
        self.refuse(item(expires=NOW + 300_001))
        self.refuse(item(rows=[["edge-2", 3, 100, 0]]))
        self.refuse(item(rows=[["edge-2", 1, 101, 0]]))
        self.refuse(item(rows=[["edge-2", 1, 100, -1]]))
        self.refuse(item(rows=[good, good]))
        self.refuse(item(rows=[["b", 1, 100, 0], ["a", 1, 100, 0]]))
        self.refuse(item(rows=[[f"edge-{n:03}", 1, 100, 0] for n in range(257)]))
        self.refuse([*item(), "more"])
        self.refuse(item(unit="x" * 70000))

    def test_a_longer_form_of_a_number_is_not_canonical(self) -> None:
        data = encode_ballot(ballot("edge-1", sequence=7))
        longer = data.replace(b"\x07\xcf", b"\xcc\x07\xcf")
        self.assertNotEqual(data, longer)
        self.assertRaises(Refused, decode_ballot, longer)
