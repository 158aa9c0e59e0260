"""Log observers: lines for people, or one JSON object an event for machines."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
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

# Twisted's own bookkeeping, of no use to whoever reads the log.
_INTERNAL = frozenset({"log_logger", "log_source", "log_flattened", "log_time", "log_level", "log_format"})
_LEGACY = frozenset(
    {"message", "time", "system", "format", "isError", "log_legacy", "log_text", "log_system"}
)


def make_observer(config: LogConfig, stream: TextIO) -> ILogObserver:
    """An observer that writes events of at least ``config.level`` to ``stream``."""
    render: Callable[[LogEvent], str | None] = json_line if config.format == "json" else text_line
    predicate = LogLevelFilterPredicate(LogLevel.lookupByName(config.level))
    return FilteringLogObserver(FileLogObserver(stream, render), [predicate])


def _timestamp(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_line(event: LogEvent) -> str:
    """``2026-01-31T10:00:00.000Z warn superedge.tunnel.edge: what happened``."""
    level = getattr(event.get("log_level"), "name", "info")
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    return f"{_timestamp(event)} {level} {event.get('log_namespace', '-')}: {text}\n"


def json_line(event: LogEvent) -> str:
    """The event's text, level, source and every field that was logged with it."""
    fields: dict[str, object] = {
        "time": _timestamp(event),
        "level": getattr(event.get("log_level"), "name", "info"),
        "logger": event.get("log_namespace", "-"),
        "message": formatEvent(event),
    }
    if "log_failure" in event:
        fields["failure"] = event["log_failure"].getTraceback()
    for key, value in event.items():
        if key not in _INTERNAL and key not in _LEGACY and not key.startswith("log_"):
            fields[key] = value if isinstance(value, str | int | float | bool | None) else str(value)
    return json.dumps(fields, ensure_ascii=False) + "\n"
