"""Limits how often the log repeats a line, so that a peer cannot fill the log."""

from __future__ import annotations

import time
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from superedge.reactor.periodic import PeriodicCall

MAX_LINES = 50
"""Lines of one kind that are written in a period; further ones are counted."""
PERIOD = 60.0
MAX_KINDS = 10_000
"""Kinds in a period after which `_KEY_FIELDS` are ignored, which bounds memory."""
_KEY_FIELDS = ("node", "kind", "code")
"""Fields whose values distinguish lines of the same text, so that one node's lines do not hide another's."""


@dataclass(slots=True)
class _Kind:
    level: LogLevel
    lines: int = 0


@implementer(ILogObserver)
class RateLimitingObserver:
    """Passes up to `MAX_LINES` events of each kind to ``observer``, and reports the number of others.

    Events have the same kind when they have the same logger, format and `_KEY_FIELDS`. Events of level debug
    are not limited.
    """

    def __init__(self, reactor: IReactorTime, observer: ILogObserver) -> None:
        self._observer = observer
        self._kinds: dict[tuple[object, ...], _Kind] = {}
        PeriodicCall(reactor, PERIOD, self.report).start()

    def __call__(self, event: LogEvent) -> None:
        """Process an event; may be called in any thread."""
        level = event.get("log_level", LogLevel.info)
        if level == LogLevel.debug:
            self._observer(event)
            return
        key: tuple[object, ...] = event.get("log_namespace"), event.get("log_format")
        if len(self._kinds) < MAX_KINDS:
            key += tuple(str(event.get(field, "")) for field in _KEY_FIELDS)
        kind = self._kinds.setdefault(key, _Kind(level))
        kind.lines += 1
        if kind.lines <= MAX_LINES:
            self._observer(event)

    def report(self) -> None:
        """Log the number of lines that were left out, and begin a new period."""
        kinds, self._kinds = self._kinds, {}
        for (namespace, text, *fields), kind in kinds.items():
            left_out = kind.lines - MAX_LINES
            if left_out > 0:
                about = {name: value for name, value in zip(_KEY_FIELDS, fields, strict=False) if value}
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
