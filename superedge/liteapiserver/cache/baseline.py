"""What was known when a request was sent. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Baseline(NamedTuple):
    """For `Cache.record` and `Cache.record_write`, of a request that is about to be sent."""

    newest: int | None = None
    """The latest version known of what a read asks for; None when its answer is allowed to be old. An answer
    that is older comes from a cluster that was restored from a backup."""
    reached: int = 0
    """The latest version known of the resource: what the answer says is at least as new, unless it is allowed
    to be old."""
    sequence: int = 0
    """How many answers had been put into the backlog."""
