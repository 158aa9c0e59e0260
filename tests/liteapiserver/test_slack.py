"""Freed memory goes back when the process has grown, and only then."""

from __future__ import annotations

import mmap

from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.slack import LOOKS, STEP, Slack, resident


class SlackTests(SynchronousTestCase):
    def test_growth_counts_from_what_was_left_the_last_time(self) -> None:
        size = 100 * STEP
        calls: list[int] = []

        def give_back() -> None:
            nonlocal size
            calls.append(size)
            size -= STEP // 2

        slack = Slack(lambda: size, give_back)
        for _ in range(LOOKS + 5):
            slack.look()
        self.assertEqual(calls, [100 * STEP - n * STEP // 2 for n in range(LOOKS)])
        size += STEP - 1
        slack.look()
        self.assertEqual(len(calls), LOOKS)
        size += 1
        slack.look()
        self.assertEqual(len(calls), LOOKS + 1)

    def test_the_system_says_how_much_it_is(self) -> None:
        before = resident()
        # Pages of its own: the allocator may have room that the process already holds.
        with mmap.mmap(-1, STEP * 4) as ballast:
            for at in range(0, len(ballast), mmap.PAGESIZE):
                ballast[at] = 1
            self.assertGreaterEqual(resident(), before + STEP * 3)
        Slack().look()
