"""Error messages and exit codes of subcommands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from superedge.errors import EXIT_CONFIG, EXIT_FAILED, ConfigError, ConfigFaults, SuperEdgeError


@contextmanager
def exit_on_error(program: str) -> Iterator[None]:
    """On a SuperEdgeError or OSError, print it to standard error and exit."""
    try:
        yield
    except (SuperEdgeError, OSError) as problem:
        for line in str(problem).splitlines():
            click.echo(f"{program}: {line}", err=True)
        sys.exit(EXIT_CONFIG if isinstance(problem, ConfigError | ConfigFaults) else EXIT_FAILED)
