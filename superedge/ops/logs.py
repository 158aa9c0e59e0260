"""Log observers: lines for people, or one JSON object an event for machines."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import TextIO

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatEvent,
)

from superedge.config.log import LogConfig
from superedge.interfaces import IReactor
from superedge.ops.limited import LimitedObserver

# Twisted's own bookkeeping, of no use to whoever reads the log.
_INTERNAL = frozenset({"log_logger", "log_source", "log_flattened", "log_time", "log_level", "log_format"})
_LEGACY = frozenset(
    {"message", "time", "system", "format", "isError", "log_legacy", "log_text", "log_system"}
)

LONGEST = 2000
"""Characters of one text in a line. Tracebacks, which no peer makes, may have more."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class LogFile:
    """A file that lines are added to. Who rotates logs may move it away, and then call ``reopen``."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._path = path.absolute()  # twistd changes its directory later
        self.stream = self._open()

    def _open(self) -> TextIO:
        return self._path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")

    def reopen(self) -> None:
        """Go on in a file of that name, made anew when it is gone. Raises OSError; then all is as before."""
        with self._open() as new:
            os.dup2(new.fileno(), self.stream.fileno(), inheritable=False)


def make_observer(reactor: IReactor, config: LogConfig, stream: TextIO) -> ILogObserver:
    """An observer that writes events of at least ``config.level`` to ``stream``, few of a kind."""
    render: Callable[[LogEvent], str | None] = json_line if config.format == "json" else text_line
    predicate = LogLevelFilterPredicate(LogLevel.lookupByName(config.level))
    limited = LimitedObserver(reactor, FileLogObserver(stream, render))
    reactor.addSystemEventTrigger("after", "shutdown", limited.tell)
    return FilteringLogObserver(limited, [predicate])


def _timestamp(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_line(event: LogEvent) -> str:
    """``2026-01-31T10:00:00.000Z warn superedge.tunnel.edge: what happened``.

    Further lines, of a traceback or of a peer's words, are indented, and control characters are spelled
    out, so that nothing that is logged can pass for a line of its own.
    """
    level = getattr(event.get("log_level"), "name", "info")
    text = eventAsText(event, includeTimestamp=False, includeSystem=False).rstrip("\n")
    if "log_failure" not in event:
        text = _shortened(text)
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text).replace("\n", "\n    ")
    return f"{_timestamp(event)} {level} {event.get('log_namespace', '-')}: {text}\n"


def json_line(event: LogEvent) -> str:
    """The event's text, level, source and every field that was logged with it."""
    fields: dict[str, object] = {
        "time": _timestamp(event),
        "level": getattr(event.get("log_level"), "name", "info"),
        "logger": event.get("log_namespace", "-"),
        "message": _shortened(formatEvent(event)),
    }
    if "log_failure" in event:
        fields["failure"] = event["log_failure"].getTraceback()
    for key, value in event.items():
        if key not in fields and key not in _INTERNAL and key not in _LEGACY and not key.startswith("log_"):
            fields[key] = _json_value(value)
    text = json.dumps(fields, ensure_ascii=False)
    # A lone surrogate, as in a file name that is not UTF-8, has no UTF-8; its escape is JSON all the same.
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def _json_value(value: object) -> object:
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value if isinstance(value, int | float | None) else _shortened(str(value))


def _shortened(text: str) -> str:
    """What is too long ends with how much it lacks."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text) - LONGEST} more characters)"
