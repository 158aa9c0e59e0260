"""Calls at the end of a reactor iteration: after all events of one poll are handled, before the next poll."""

from __future__ import annotations

from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary, ref

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

_log = Logger()


class IterationObserver(Protocol):
    """An object that is called at the end of an iteration."""

    def iteration_ended(self) -> None:
        """All events of the iteration are handled."""


class ReactorIteration:
    """The current iteration of one reactor, with the observers of its end."""

    _by_reactor: WeakKeyDictionary[Any, ReactorIteration] = WeakKeyDictionary()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = ref(reactor)
        self.observers: list[IterationObserver] = []
        self.reactor_calls_end = False
        """Whether the reactor itself calls ``end``; otherwise a delayed call does."""
        self.single_event = False
        """Whether the event being handled is known to be the only one of the iteration."""

    @classmethod
    def of(cls, reactor: IReactorTime) -> ReactorIteration:
        """The iteration of a reactor."""
        found = cls._by_reactor.get(reactor)
        if found is None:
            found = cls._by_reactor[reactor] = cls(reactor)
        return found

    def add(self, observer: IterationObserver) -> None:
        """Call the observer's ``iteration_ended`` once."""
        if not (self.observers or self.reactor_calls_end):
            cast(IReactorTime, self._reactor()).callLater(0, self.end)
        self.observers.append(observer)

    def end(self) -> None:
        """Call the observers.

        An observer that is added meanwhile is called at the end of the next iteration.
        """
        observers, self.observers = self.observers, []
        for observer in observers:
            try:
                observer.iteration_ended()
            except Exception:
                _log.failure("{observer} failed at the end of a reactor iteration", observer=observer)
