"""Complete long responses that wait to be decoded and applied to the cache.

A list of megabytes costs more to decode than to forward. If the same list is requested again meanwhile, only
the latest response is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import chain
from operator import itemgetter

from twisted.internet.interfaces import IDelayedCall, IReactorTime

MIN_SIZE = 64 * 1024
"""Bytes of a body, still encoded, from which it may wait."""
DELAY = 0.05
"""Seconds that a response waits."""
SHARE = 20
"""Decoding takes at most 1/SHARE of the time."""
MAX_DELAY = 2.0
"""Seconds that a response waits at most."""
MAX_BYTES = 32 * 1024 * 1024
"""Bytes that may wait; beyond, everything is applied at once."""

Apply = Callable[[], None]
BacklogKey = tuple[str, str, str]
"""Identity, group and resource: responses with the same key are applied in order."""


class Backlog:
    """Applies responses after a delay."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self.waiting: dict[BacklogKey, dict[Hashable, list[tuple[int, int, Apply]]]] = {}
        """The sequence number, size and application of each response that waits, by key and query."""
        self.sequence = 0
        """How many responses were put here so far."""
        self._size = 0
        self._call: IDelayedCall | None = None
        self._delay = DELAY

    def put(self, key: BacklogKey, query: Hashable, size: int, apply: Apply, replaces_to: int) -> None:
        """Call ``apply`` soon; it does not raise.

        Waiting responses to the same query up to the sequence number ``replaces_to`` are dropped: this one
        was requested after they had come, and so is not older.
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
        """Apply what waits under ``key`` now, unless only ``except_for`` waits, which a new response
        replaces.
        """
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
