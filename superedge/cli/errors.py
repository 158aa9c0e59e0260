"""How a subcommand ends when it cannot do its work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from superedge.errors import EXIT_CONFIG, EXIT_FAILED, ConfigError, ConfigFaults, SuperEdgeError


@contextmanager
def reported(program: str) -> Iterator[None]:
    """Turn a SuperEdgeError or OSError into lines on standard error and an exit code."""
    try:
        yield
    except (SuperEdgeError, OSError) as problem:
        for line in str(problem).splitlines():
            click.echo(f"{program}: {line}", err=True)
        sys.exit(EXIT_CONFIG if isinstance(problem, ConfigError | ConfigFaults) else EXIT_FAILED)
