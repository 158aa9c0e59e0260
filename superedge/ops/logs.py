"""Log observers that write text lines, or one JSON object for each event."""

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
from superedge.ops.ratelimit import RateLimitingObserver

# Twisted's internal fields, which are not written.
_INTERNAL = frozenset({"log_logger", "log_source", "log_flattened", "log_time", "log_level", "log_format"})
_LEGACY = frozenset(
    {"message", "time", "system", "format", "isError", "log_legacy", "log_text", "log_system"}
)

MAX_TEXT = 2000
"""Maximum characters of one text in a line. Tracebacks may be longer, because peers do not write them."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class LogFile:
    """A file to which lines are appended. After log rotation moves it, call ``reopen``."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._path = path.absolute()  # twistd changes the working directory later
        self.stream = self._open()

    def _open(self) -> TextIO:
        return self._path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")

    def reopen(self) -> None:
        """Continue in the file of that name, creating it if needed. An OSError leaves all as before."""
        with self._open() as new:
            os.dup2(new.fileno(), self.stream.fileno(), inheritable=False)


def make_observer(reactor: IReactor, config: LogConfig, stream: TextIO) -> ILogObserver:
    """An observer that writes events of at least ``config.level`` to ``stream``, with a rate limit."""
    render: Callable[[LogEvent], str | None] = json_line if config.format == "json" else text_line
    predicate = LogLevelFilterPredicate(LogLevel.lookupByName(config.level))
    limited = RateLimitingObserver(reactor, FileLogObserver(stream, render))
    reactor.addSystemEventTrigger("after", "shutdown", limited.report)
    return FilteringLogObserver(limited, [predicate])


def _timestamp(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_line(event: LogEvent) -> str:
    """``2026-01-31T10:00:00.000Z warn superedge.tunnel.edge: what happened``.

    Further lines are indented and control characters are escaped, so that no logged text can imitate another
    log line.
    """
    level = getattr(event.get("log_level"), "name", "info")
    text = eventAsText(event, includeTimestamp=False, includeSystem=False).rstrip("\n")
    if "log_failure" not in event:
        text = _shortened(text)
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text).replace("\n", "\n    ")
    return f"{_timestamp(event)} {level} {event.get('log_namespace', '-')}: {text}\n"


def json_line(event: LogEvent) -> str:
    """The event's time, level, logger, text and fields."""
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
    # A lone surrogate, as in a file name that is not UTF-8, is escaped, which is valid JSON.
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def _json_value(value: object) -> object:
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value if isinstance(value, int | float | None) else _shortened(str(value))


def _shortened(text: str) -> str:
    """The text, cut after `MAX_TEXT` characters."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text) - MAX_TEXT} more characters)"
