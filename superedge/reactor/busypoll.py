"""Waiting for events awake while they come one right after the other.

Whoever sleeps must be woken up: the processor leaves its idle state, which a virtual machine pays dearly for,
and comes back to cold caches. When an answer takes less than that, looking for it again and again is faster,
and costs hardly more processor time than the sleep does. Linux does the same for packets
(``net.core.busy_poll``) and for idle virtual processors (halt polling).
"""

from __future__ import annotations

from collections.abc import Callable
from os import sched_yield
from time import perf_counter

Events = list[tuple[int, int]]

SHORT = 100e-6
"""Seconds. A wait that takes longer is cheaper asleep."""


class BusyPoll:
    """What waits for the events of one poller."""

    def __init__(
        self,
        poll: Callable[[float, int], Events],
        now: Callable[[], float] = perf_counter,
        give_way: Callable[[], object] = sched_yield,
    ) -> None:
        """``poll`` takes seconds (-1: no end) and the most events to give; ``give_way`` lets others run."""
        self._poll = poll
        self._now = now
        self._give_way = give_way
        self._awake = False
        """Whether the last wait was short, so that the next is likely to be, too."""

    def wait(self, timeout: float | None, most: int) -> Events:
        """Up to ``most`` events, as soon as there is one; none after ``timeout`` seconds (None: no end)."""
        poll = self._poll
        if timeout == 0:
            return poll(0, most)
        now = self._now
        began = now()
        if self._awake:
            while now() - began < SHORT:
                events = poll(0, most)
                if events:
                    return events
                self._give_way()
        events = poll(-1 if timeout is None else timeout, most)
        self._awake = now() - began < SHORT
        return events
