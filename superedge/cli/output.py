"""Standard output of subcommands that print tables."""

from __future__ import annotations

import sys

from rich.console import Console

_UNBOUNDED = 100_000
"""Columns when the output is not a terminal: programs read whole lines."""


def table_console() -> Console:
    """Standard output, on which lines are wrapped only if it is a terminal."""
    return Console(width=None if sys.stdout.isatty() else _UNBOUNDED)
