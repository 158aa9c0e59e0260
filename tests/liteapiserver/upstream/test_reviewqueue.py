from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.upstream.reviewqueue import UNCHECKED, ReviewQueue


def drained(queue: ReviewQueue) -> list[str]:
    """The hashes of the tokens in the order in which they are taken."""
    found = []
    while (waiting := queue.take()) is not None:
        found.append(waiting.digest)
    return found


class ReviewQueueTests(SynchronousTestCase):
    def test_who_has_few_tokens_does_not_wait_for_who_has_many(self) -> None:
        queue = ReviewQueue(100)
        for number in range(50):
            queue.put("many", f"m{number}", "x")
        queue.put("few", "f0", "x")
        queue.put("few", "f1", "x")
        self.assertEqual(drained(queue)[:5], ["m0", "f0", "m1", "f1", "m2"])

    def test_made_up_tokens_together_are_one_owner(self) -> None:
        queue = ReviewQueue(100)
        for number in range(50):
            queue.put(UNCHECKED, f"u{number}", "x")
        queue.put("a", "a0", "x")
        self.assertEqual(drained(queue)[:3], ["u0", "a0", "u1"])

    def test_a_token_that_proves_to_be_checked_gets_its_owner_and_keeps_it(self) -> None:
        queue = ReviewQueue(100)
        queue.put(UNCHECKED, "u", "x")
        queue.put(UNCHECKED, "t", "x")
        for owner in ("a", UNCHECKED, "a"):
            queue.put(owner, "t", "x")
        self.assertEqual(len(queue), 2)
        self.assertEqual(queue.take(busy={UNCHECKED}), ("a", "t", "x"))
        self.assertEqual(drained(queue), ["u"])

    def test_who_has_most_loses_the_latest(self) -> None:
        queue = ReviewQueue(4)
        for digest in ("m0", "m1", "m2", "m3"):
            queue.put("many", digest, "x")
        queue.put("few", "f0", "x")
        queue.put("few", "f1", "x")
        self.assertEqual(drained(queue), ["m0", "f0", "m1", "f1"])

    def test_busy_owners_are_passed_over(self) -> None:
        queue = ReviewQueue(4)
        queue.put("a", "a0", "x")
        self.assertIsNone(queue.take(busy={"a"}))
        queue.put("b", "b0", "y")
        self.assertEqual(queue.take(busy={"a"}), ("b", "b0", "y"))
        self.assertEqual(drained(queue), ["a0"])

    @given(st.lists(st.tuples(st.sampled_from([UNCHECKED, "a", "b"]), st.integers(0, 9), st.booleans())))
    def test_what_is_put_is_taken_once_or_left_out(self, steps: list[tuple[str, int, bool]]) -> None:
        queue, taken, put = ReviewQueue(5), [], set()
        for owner, number, take in steps:
            if take:
                if (waiting := queue.take()) is not None:
                    taken.append(waiting.digest)
                    put.discard(waiting.digest)
            else:
                queue.put(owner, str(number), "x")
                put.add(str(number))
            self.assertLessEqual(len(queue), 5)
        rest = drained(queue)
        self.assertEqual(len(queue), 0)
        self.assertEqual(len(rest), len(set(rest)))
        self.assertLessEqual(set(rest), put)
