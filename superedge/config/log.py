"""Section ``[log]``: what the process says and how."""

from __future__ import annotations

from typing import Literal

import msgspec


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Log lines on standard output, or in twistd's ``--logfile``."""

    #: The least severe level that is written.
    level: Literal["debug", "info", "warn", "error", "critical"] = "info"
    #: `text` for people, `json` for one JSON object a line with every field of the event.
    format: Literal["text", "json"] = "text"
