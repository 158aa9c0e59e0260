"""Receive windows: how they grow, share, shrink, and never leave a sender waiting for nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.mux.settings import INITIAL_WINDOW, MuxSettings
from superedge.mux.windows import TIGHT_WINDOW, WIDE_WINDOW, Allowance, ReceiveWindow

MIB = 1 << 20


class Path:
    """A sender that uses every credit at once, over a path that carries ``rate`` bytes a second."""

    def __init__(self, allowance: Allowance, rtt: float, rate: float, start: float = 0.0) -> None:
        self.window = ReceiveWindow(allowance)
        self.rtt, self.rate, self.now = rtt, rate, start

    def drain(self, count: int) -> None:
        """Receive and read that many bytes, 64 KiB at a time."""
        while count:
            if not self.window.available:
                raise AssertionError("the sender would wait for ever")
            chunk = min(count, self.window.available, 65536)
            assert self.window.receive(chunk)
            self.now += chunk / self.rate
            self.window.consume(chunk, self.now, self.rtt)
            count -= chunk


class WindowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.allowance = Allowance(MuxSettings())

    def test_a_long_fast_path_is_filled_after_one_window(self) -> None:
        path = Path(self.allowance, rtt=0.1, rate=200e6)
        path.drain(INITIAL_WINDOW)
        self.assertEqual(path.window.size, 16 * MIB)

    def test_a_window_is_wider_for_a_reader_that_keeps_a_high_pace_and_no_longer(self) -> None:
        path = Path(self.allowance, rtt=0.1, rate=400e6)
        path.drain(8 * MIB)
        self.assertEqual(path.window.size, WIDE_WINDOW, "it may have been a burst")
        path.drain(160 * MIB)
        self.assertGreater(path.window.size, 40 * MIB, "all that 0.1 s of the path carries")
        path.rate = 1e6
        path.drain(80 * MIB)
        self.assertLessEqual(path.window.size, WIDE_WINDOW)
        self.assertEqual(self.allowance.left, self.allowance.total - path.window.size + INITIAL_WINDOW)

    def test_a_window_is_wider_within_the_round_trip_in_which_much_was_drained(self) -> None:
        path = Path(self.allowance, rtt=0.1, rate=400e6)
        path.drain(INITIAL_WINDOW)
        drained = INITIAL_WINDOW
        while drained < 24 * MIB:
            path.drain(MIB)
            drained += MIB
            self.assertLessEqual(path.window.size, max(WIDE_WINDOW, 2 * drained))
        self.assertLess(path.now, path.rtt)
        self.assertGreater(path.window.size, 40 * MIB)

    def test_a_window_is_twice_what_the_path_holds(self) -> None:
        path = Path(self.allowance, rtt=0.1, rate=10e6)
        path.drain(8 * MIB)
        self.assertAlmostEqual(path.window.size / 2e6, 1.0, delta=0.3)

    def test_a_short_or_slow_path_keeps_the_initial_window(self) -> None:
        for rtt, rate in ((0.0002, 300e6), (0.1, 1e6)):
            path = Path(self.allowance, rtt, rate)
            path.drain(8 * MIB)
            self.assertEqual(path.window.size, INITIAL_WINDOW)

    def test_a_wide_window_is_given_back_in_small_parts(self) -> None:
        path = Path(self.allowance, rtt=0.1, rate=80e6)
        path.drain(INITIAL_WINDOW)
        window, parts = path.window, []
        for _ in range(256):
            window.receive(65536)
            path.now += 65536 / path.rate
            parts.append(window.consume(65536, path.now, path.rtt))
        self.assertLessEqual(max(parts), MIB)
        self.assertLessEqual(sum(part > 0 for part in parts), 32)

    def test_nothing_grows_before_the_round_trip_is_known(self) -> None:
        window = ReceiveWindow(self.allowance)
        window.receive(INITIAL_WINDOW)
        self.assertEqual(window.consume(INITIAL_WINDOW, 0.0, None), INITIAL_WINDOW)
        self.assertEqual(window.size, INITIAL_WINDOW)

    def test_windows_share_the_allowance_and_all_of_it_comes_back(self) -> None:
        paths = [Path(self.allowance, 0.1, 200e6) for _ in range(12)]
        for path in paths:
            path.drain(INITIAL_WINDOW)
        grown = sum(path.window.size - INITIAL_WINDOW for path in paths)
        self.assertLessEqual(grown, self.allowance.total)
        self.assertEqual(self.allowance.left, self.allowance.total - grown)
        for _ in range(8):
            for path in paths:
                path.drain(8 * MIB)
        sizes = sorted(path.window.size for path in paths)
        self.assertGreater(sizes[0], MIB)
        for path in paths:
            path.window.release()
        self.assertEqual((self.allowance.left, self.allowance.grown), (self.allowance.total, 0))

    def test_while_too_much_waits_for_readers_windows_are_tight(self) -> None:
        allowance = Allowance(MuxSettings(max_window=MIB, session_buffer=MIB))
        stalled = [ReceiveWindow(allowance) for _ in range(5)]
        for window in stalled:
            window.receive(INITIAL_WINDOW)
        path = Path(allowance, 0.1, 200e6)
        path.drain(4 * MIB)
        self.assertLessEqual(path.window.available, TIGHT_WINDOW)
        for window in stalled:
            window.release()
        self.assertEqual(allowance.buffered, 0)
        path.drain(4 * MIB)
        self.assertGreater(path.window.available, TIGHT_WINDOW)

    @given(
        st.lists(st.tuples(st.integers(0, 3), st.integers(1, 400_000), st.floats(0, 0.2)), max_size=80),
        st.sampled_from([None, 0.0001, 0.01, 0.3]),
    )
    def test_a_sender_never_waits_for_a_reader_who_has_read_everything(
        self, steps: list[tuple[int, int, float]], rtt: float | None
    ) -> None:
        allowance = Allowance(MuxSettings(max_window=MIB, session_buffer=MIB))
        windows = [ReceiveWindow(allowance) for _ in range(4)]
        now = 0.0
        for index, count, pause in steps:
            now += pause
            window = windows[index]
            taken = min(count, window.available)
            if taken:
                self.assertTrue(window.receive(taken))
            if count & 1:
                window.consume(window.buffered, now, rtt)
            self.assertLessEqual(window.available + window.buffered, max(window.size, 2 * MIB))
        for window in windows:
            window.consume(window.buffered, now, rtt)
            self.assertGreater(window.available, 0)
        self.assertEqual(allowance.buffered, 0)
