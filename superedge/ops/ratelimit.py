"""Keeps one cause from filling the log: what an outsider can repeat is written a bounded number of times."""

from __future__ import annotations

import time
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from superedge.reactor.periodic import PeriodicCall

LINES = 50
"""Lines of one kind in a period; the others are counted."""
PERIOD = 60.0
KINDS = 10_000
"""Kinds that are told apart in a period by more than their text."""
_APART = ("node", "kind", "code")
"""Fields whose values make lines of the same text different kinds: what one node causes hides no other's."""


@dataclass(slots=True)
class _Kind:
    level: LogLevel
    lines: int = 0


@implementer(ILogObserver)
class LimitedObserver:
    """Passes events on, and says at the end of a period how many of which kind it left out.

    Lines are of one kind when the same statement writes them, about the same node, listener or cause. All of
    level debug are passed on.
    """

    def __init__(self, reactor: IReactorTime, observer: ILogObserver) -> None:
        self._observer = observer
        self._kinds: dict[tuple[object, ...], _Kind] = {}
        PeriodicCall(reactor, PERIOD, self.tell).start()

    def __call__(self, event: LogEvent) -> None:
        """Take an event, in any thread."""
        level = event.get("log_level", LogLevel.info)
        if level == LogLevel.debug:
            self._observer(event)
            return
        key: tuple[object, ...] = event.get("log_namespace"), event.get("log_format")
        if len(self._kinds) < KINDS:
            key += tuple(str(event.get(field, "")) for field in _APART)
        kind = self._kinds.setdefault(key, _Kind(level))
        kind.lines += 1
        if kind.lines <= LINES:
            self._observer(event)

    def tell(self) -> None:
        """Say what was left out; a new period begins."""
        kinds, self._kinds = self._kinds, {}
        for (namespace, text, *fields), kind in kinds.items():
            left_out = kind.lines - LINES
            if left_out > 0:
                about = {name: value for name, value in zip(_APART, fields, strict=False) if value}
                self._observer(
                    {
                        **about,
                        "log_level": kind.level,
                        "log_namespace": namespace,
                        "log_time": time.time(),
                        "log_format": "left out {left_out} lines within {period:.0f} s like: {like}{about}",
                        "left_out": left_out,
                        "period": PERIOD,
                        "like": text,
                        "about": "".join(f" ({name} {value})" for name, value in about.items()),
                    }
                )
