from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.mux.errors import ProtocolError
from superedge.mux.streamids import MAX_SKIPPED, PeerStreamIds


class PeerIdsTests(SynchronousTestCase):
    @given(st.permutations(list(range(20))), st.integers(0, 1))
    def test_any_order_but_each_once(self, order: list[int], parity: int) -> None:
        first = 1 if parity else 2
        ids = PeerStreamIds(parity)
        for number in order:
            ids.take(first + 2 * number)
        for number in order:
            self.assertRaises(ProtocolError, ids.take, first + 2 * number)

    def test_numbers_of_ours(self) -> None:
        self.assertRaises(ProtocolError, PeerStreamIds(1).take, 2)
        self.assertRaises(ProtocolError, PeerStreamIds(0).take, 1)
        self.assertRaises(ProtocolError, PeerStreamIds(0).take, 0)

    def test_gaps_are_bounded(self) -> None:
        self.assertRaises(ProtocolError, PeerStreamIds(1).take, 2 * MAX_SKIPPED + 3)
        ids = PeerStreamIds(1)
        with self.assertRaises(ProtocolError):
            for number in range(MAX_SKIPPED + 2):
                ids.take(4 * number + 1)
