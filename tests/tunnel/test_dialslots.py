from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.tunnel.dialslots import DialSlots
from superedge.tunnel.errors import DialError


def taken(slots: DialSlots, target: str, caller: str, times: int = 10_000) -> int:
    """How many places a caller gets for a target."""
    for count in range(times):
        try:
            slots.acquire(target, caller)
        except DialError as problem:
            assert problem.code == "limit"
            return count
    return times


class DialSlotsTests(SynchronousTestCase):
    def test_a_dead_target_leaves_room_for_the_others_of_the_same_caller(self) -> None:
        slots = DialSlots(256)
        self.assertEqual(taken(slots, "dead:1", "a"), 128)
        self.assertGreaterEqual(taken(slots, "alive:1", "a"), 32)

    def test_a_caller_with_many_dead_targets_leaves_room_for_the_others(self) -> None:
        slots = DialSlots(256)
        held = sum(taken(slots, f"dead:{number}", "a", 1) for number in range(300))
        self.assertEqual(held, 192)
        self.assertGreaterEqual(taken(slots, "alive:1", "b"), 32)

    def test_one_that_says_nobody_asks_is_bound_by_target_alone(self) -> None:
        slots = DialSlots(4)
        self.assertEqual(sum(taken(slots, str(number), "", 1) for number in range(9)), 4)

    def test_a_place_becomes_free(self) -> None:
        slots = DialSlots(2)
        self.assertEqual(taken(slots, "x:1", "a"), 1)
        slots.release("x:1", "a")
        self.assertEqual((taken(slots, "x:1", "a"), len(slots)), (1, 1))

    @given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["", "a", "b"]), st.booleans())))
    def test_never_more_than_the_limit_and_nothing_is_left_behind(
        self, steps: list[tuple[str, str, bool]]
    ) -> None:
        slots, held = DialSlots(5), list[tuple[str, str]]()
        for target, caller, takes in steps:
            if takes and taken(slots, target, caller, 1):
                held.append((target, caller))
            elif not takes and (target, caller) in held:
                held.remove((target, caller))
                slots.release(target, caller)
            self.assertEqual(len(slots), len(held))
            self.assertLessEqual(len(held), 5)
        for target, caller in held:
            slots.release(target, caller)
        self.assertEqual((slots._targets, slots._callers), ({}, {}))
