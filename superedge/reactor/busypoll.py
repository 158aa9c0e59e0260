"""Busy polling: wait for events without sleeping while they follow each other closely.

Waking up from sleep is slow: the processor leaves its idle state, which is expensive in a virtual machine,
and its caches are cold. When the next event arrives sooner than that, polling in a loop is faster and costs
hardly more processor time. Linux does the same for packets (``net.core.busy_poll``) and for idle virtual
processors (halt polling).
"""

from __future__ import annotations

from collections.abc import Callable
from os import sched_yield
from time import perf_counter

Events = list[tuple[int, int]]

SPIN_TIME = 100e-6
"""Seconds to poll without sleeping. Beyond this, sleeping is cheaper."""


class BusyPoll:
    """Waits for the events of one poller."""

    def __init__(
        self,
        poll: Callable[[float, int], Events],
        now: Callable[[], float] = perf_counter,
        yield_cpu: Callable[[], object] = sched_yield,
    ) -> None:
        """``poll`` takes a timeout in seconds (-1: none) and the maximum number of events."""
        self._poll = poll
        self._now = now
        self._yield_cpu = yield_cpu
        self._spin = False
        """Whether to poll without sleeping first: the last wait was short, so the next is likely short
        too."""

    def wait(self, timeout: float | None, max_events: int) -> Events:
        """Up to ``max_events`` events, as soon as one is there; none after ``timeout`` seconds (None: wait
        on)."""
        poll = self._poll
        if timeout == 0:
            return poll(0, max_events)
        now = self._now
        began = now()
        if self._spin:
            while now() - began < SPIN_TIME:
                events = poll(0, max_events)
                if events:
                    return events
                self._yield_cpu()
        events = poll(-1 if timeout is None else timeout, max_events)
        self._spin = now() - began < SPIN_TIME
        return events
