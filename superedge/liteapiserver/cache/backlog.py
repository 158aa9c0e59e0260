"""Long answers that are whole and wait for a quiet moment to be taken into the cache.

A list of megabytes costs more to decode than to forward. Asked for again and again, only the latest answer
counts: what it replaces is never decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import chain
from operator import itemgetter

from twisted.internet.interfaces import IDelayedCall, IReactorTime

LONG = 64 * 1024
"""Bytes of a body, as it came, that may wait."""
DELAY = 0.05
"""Seconds that it waits, like a group commit."""
SHARE = 20
"""Decoding takes at most one part in so many of the time."""
MAX_DELAY = 2.0
MAX_BYTES = 32 * 1024 * 1024
"""Bytes that may wait together."""

Take = Callable[[], None]
Owner = tuple[str, str, str]
"""Identity, group and resource: what must not change before its earlier answers are taken."""


class Backlog:
    """Takes answers in quiet moments."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self.waiting: dict[Owner, dict[Hashable, list[tuple[int, int, Take]]]] = {}
        """What waits, by owner and question: its turn, its size, and what takes it."""
        self.turn = 0
        """How many answers were put here."""
        self._size = 0
        self._call: IDelayedCall | None = None
        self._delay = DELAY

    def put(self, owner: Owner, question: Hashable, size: int, take: Take, replaced: int) -> None:
        """Call ``take`` soon; it does not raise.

        Earlier answers to the same question, up to the turn ``replaced``, are not taken any more: this one
        was asked for after them, and so is not older.
        """
        self.turn += 1
        answers = self.waiting.setdefault(owner, {}).setdefault(question, [])
        while answers and answers[0][0] <= replaced:
            self._size -= answers.pop(0)[1]
        answers.append((self.turn, size, take))
        self._size += size
        if self._size > MAX_BYTES:
            self.settle_all()
        elif self._call is None:
            self._call = self._reactor.callLater(self._delay, self._due)

    def settle(self, owner: Owner, but: Hashable = None) -> None:
        """Take what waits of an owner now; if ``but`` is all that waits, its next answer is on the way."""
        questions = self.waiting.get(owner)
        if questions is None or questions.keys() == {but}:
            return
        del self.waiting[owner]
        for _, size, take in sorted(chain.from_iterable(questions.values()), key=itemgetter(0)):
            self._size -= size
            take()

    def settle_all(self) -> None:
        """Take everything now."""
        while self.waiting:
            self.settle(next(iter(self.waiting)))

    def _due(self) -> None:
        self._call = None
        started = self._reactor.seconds()
        self.settle_all()
        cost = self._reactor.seconds() - started
        self._delay = min(max(DELAY, cost * (SHARE - 1)), MAX_DELAY)

    def close(self) -> None:
        """Take everything, and wait for nothing more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.settle_all()
