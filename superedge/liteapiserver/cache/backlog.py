"""Long answers that are whole and wait for a quiet moment to be taken into the cache.

A list of megabytes costs more to decode than to forward. Baseline for again and again, only the latest answer
counts: what it replaces is never decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import chain
from operator import itemgetter

from twisted.internet.interfaces import IDelayedCall, IReactorTime

MIN_SIZE = 64 * 1024
"""Bytes of a body, as it came, that may wait."""
DELAY = 0.05
"""Seconds that it waits, like a group commit."""
SHARE = 20
"""Decoding takes at most one part in so many of the time."""
MAX_DELAY = 2.0
MAX_BYTES = 32 * 1024 * 1024
"""Bytes that may wait together."""

Apply = Callable[[], None]
BacklogKey = tuple[str, str, str]
"""Identity, group and resource: what must not change before its earlier answers are taken."""


class Backlog:
    """Takes answers in quiet moments."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self.waiting: dict[BacklogKey, dict[Hashable, list[tuple[int, int, Apply]]]] = {}
        """What waits, by key and query: its sequence, its size, and what takes it."""
        self.sequence = 0
        """How many answers were put here."""
        self._size = 0
        self._call: IDelayedCall | None = None
        self._delay = DELAY

    def put(self, key: BacklogKey, query: Hashable, size: int, apply: Apply, replaces_to: int) -> None:
        """Call ``apply`` soon; it does not raise.

        Earlier answers to the same query, up to the sequence ``replaces_to``, are not taken any more: this
        one was asked for after them, and so is not older.
        """
        self.sequence += 1
        answers = self.waiting.setdefault(key, {}).setdefault(query, [])
        while answers and answers[0][0] <= replaces_to:
            self._size -= answers.pop(0)[1]
        answers.append((self.sequence, size, apply))
        self._size += size
        if self._size > MAX_BYTES:
            self.drain_all()
        elif self._call is None:
            self._call = self._reactor.callLater(self._delay, self._due)

    def drain(self, key: BacklogKey, except_for: Hashable = None) -> None:
        """Apply what waits of an key now; if ``but`` is all that waits, its next answer is on the way."""
        queries = self.waiting.get(key)
        if queries is None or queries.keys() == {except_for}:
            return
        del self.waiting[key]
        for _, size, apply in sorted(chain.from_iterable(queries.values()), key=itemgetter(0)):
            self._size -= size
            apply()

    def drain_all(self) -> None:
        """Apply everything now."""
        while self.waiting:
            self.drain(next(iter(self.waiting)))

    def _due(self) -> None:
        self._call = None
        started = self._reactor.seconds()
        self.drain_all()
        cost = self._reactor.seconds() - started
        self._delay = min(max(DELAY, cost * (SHARE - 1)), MAX_DELAY)

    def close(self) -> None:
        """Apply everything, and wait for nothing more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.drain_all()
