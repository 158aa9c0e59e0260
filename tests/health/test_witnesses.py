from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.health.votes.witnesses import probed_by, witnesses_of

NAMES = [f"edge-{n}" for n in range(120)]


class WitnessTests(SynchronousTestCase):
    def test_a_small_unit_is_all_witnesses(self) -> None:
        members = NAMES[:11]
        for node in members:
            self.assertEqual(sorted(witnesses_of(node, members, 10)), sorted(set(members) - {node}))

    def test_both_sides_choose_the_same_pairs(self) -> None:
        for count in (1, 3, 10):
            chosen = {(witness, node) for node in NAMES for witness in witnesses_of(node, NAMES, count)}
            probing = {(node, peer) for node in NAMES for peer in probed_by(node, NAMES, count)}
            self.assertEqual(chosen, probing)

    @given(st.permutations(NAMES))
    @settings(max_examples=20)
    def test_the_order_of_members_says_nothing(self, members: list[str]) -> None:
        self.assertEqual(witnesses_of("edge-7", members, 10), witnesses_of("edge-7", NAMES, 10))

    def test_a_node_that_goes_changes_only_the_places_that_were_its_own(self) -> None:
        left = [name for name in NAMES if name != "edge-50"]
        for node in left:
            before, after = set(witnesses_of(node, NAMES, 10)), set(witnesses_of(node, left, 10))
            self.assertEqual(before - {"edge-50"}, before & after)
            self.assertEqual(len(after), 10)

    def test_the_work_is_spread(self) -> None:
        members = [f"node-{n}.example" for n in range(500)]
        load = Counter(witness for node in members for witness in witnesses_of(node, members, 10))
        self.assertLess(max(load.values()), 26)
        self.assertGreater(min(load.values()), 0)
