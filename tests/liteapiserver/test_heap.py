"""Freed memory goes back when the process has grown, and only then."""

from __future__ import annotations

import mmap
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.heap import MAX_TRIMS, STEP, HeapTrimmer, resident


class HeapTrimmerTests(SynchronousTestCase):
    def test_growth_counts_from_what_was_left_the_last_time(self) -> None:
        size = 100 * STEP
        calls: list[int] = []

        def trim() -> None:
            nonlocal size
            calls.append(size)
            size -= STEP // 2

        trimmer = HeapTrimmer(lambda: size, trim)
        for _ in range(MAX_TRIMS + 5):
            trimmer.check()
        self.assertEqual(calls, [100 * STEP - n * STEP // 2 for n in range(MAX_TRIMS)])
        size += STEP - 1
        trimmer.check()
        self.assertEqual(len(calls), MAX_TRIMS)
        size += 1
        trimmer.check()
        self.assertEqual(len(calls), MAX_TRIMS + 1)

    def test_the_system_says_how_much_it_is(self) -> None:
        before = resident()
        # Pages of its own: the allocator may have room that the process already holds.
        with mmap.mmap(-1, STEP * 4) as ballast:
            for at in range(0, len(ballast), mmap.PAGESIZE):
                ballast[at] = 1
            self.assertGreaterEqual(resident(), before + STEP * 3)
        HeapTrimmer().check()

    def test_large_blocks_go_back_when_they_are_freed(self) -> None:
        script = """
from superedge.liteapiserver.heap import STEP, return_large_blocks, resident
return_large_blocks()
block = b"x" * STEP * 3
del block  # from now on the C library would keep blocks of this size
before = resident()
block = b"x" * STEP * 2
assert resident() > before + STEP, "it is not there"
del block
assert resident() < before + STEP, "it is still there"
"""
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
