from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.tunnel.epochs import MAX_EPOCH, EpochClock


class EpochClockTests(SynchronousTestCase):
    def test_it_reads_as_time(self) -> None:
        self.assertEqual(EpochClock().next(1764053296.5), 1764053296500000)

    def test_a_clock_that_is_set_back(self) -> None:
        clock = EpochClock()
        first = clock.next(2000.0)
        self.assertGreater(clock.next(1000.0), first)

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 4e9), st.booleans()), max_size=30))
    def test_whoever_has_heard_of_a_session_gives_a_higher_epoch(
        self, moves: list[tuple[str, float, bool]]
    ) -> None:
        """However wrong the replicas' clocks are; a replica that heard nothing may give any."""
        clocks = {name: EpochClock() for name in "abc"}
        last = 0
        for name, now, heard in moves:
            if heard:
                clocks[name].observe(last)
            epoch = clocks[name].next(now)
            if heard:
                self.assertGreater(epoch, last)
            last = epoch

    def test_an_epoch_that_cannot_be(self) -> None:
        clock = EpochClock()
        clock.observe(MAX_EPOCH + 1)
        self.assertEqual(clock.next(1.0), 1_000_000)
