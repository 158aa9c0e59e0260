"""Which versions the cache knew when a request was sent. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Baseline(NamedTuple):
    """For `Cache.record` and `Cache.record_write`. The default knows nothing."""

    newest: int | None = None
    """The latest version of what a read asks for; None when the response may be an old one. An older response
    comes from a cluster that was restored from a backup."""
    reached: int = 0
    """The latest version of the resource. The response is at least as new, unless it may be an old one."""
    sequence: int = 0
    """How many responses had been put into the backlog."""
