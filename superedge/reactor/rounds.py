"""The end of a reactor's round: when all events of one poll are handled, and before the next."""

from __future__ import annotations

from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary, ref

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

_log = Logger()


class Waiting(Protocol):
    """Who has something to do then."""

    def round_over(self) -> None:
        """The moment has come."""


class Round:
    """Those of one reactor that wait for the end of its round."""

    _rounds: WeakKeyDictionary[Any, Round] = WeakKeyDictionary()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = ref(reactor)
        self.waiting: list[Waiting] = []
        self.driven = False
        """Whether the reactor calls ``over`` itself; else it is a delayed call."""
        self.alone = False
        """Whether the event that is being handled is the only one of the round, as far as is known."""

    @classmethod
    def of(cls, reactor: IReactorTime) -> Round:
        """The one of a reactor."""
        found = cls._rounds.get(reactor)
        if found is None:
            found = cls._rounds[reactor] = cls(reactor)
        return found

    def add(self, waiting: Waiting) -> None:
        """Call ``round_over`` of it, once."""
        if not (self.waiting or self.driven):
            cast(IReactorTime, self._reactor()).callLater(0, self.over)
        self.waiting.append(waiting)

    def over(self) -> None:
        """This round is over; who is added from now on waits for the end of the next."""
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            try:
                each.round_over()
            except Exception:
                _log.failure("{waiting} failed at the end of a round", waiting=each)
