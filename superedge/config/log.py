"""Table ``[log]``: level and format of the log."""

from __future__ import annotations

from typing import Literal

import msgspec


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Log lines on standard output, or in twistd's ``--logfile``."""

    #: Lowest level that is written.
    level: Literal["debug", "info", "warn", "error", "critical"] = "info"
    #: `text` for people; `json` for one JSON object a line with all fields of the event.
    format: Literal["text", "json"] = "text"
