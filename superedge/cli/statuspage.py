"""The status page of an ops port: how the subcommands that show it read it, print it and watch it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, TypeVar

import click
from rich.console import RenderableType
from rich.live import Live

from superedge.cli.output import table_console

URL = "http://127.0.0.1:51010"
TIMEOUT = 5.0
WATCH_INTERVAL = 2.0

S = TypeVar("S")


def page_of(url: str) -> str:
    """The address of the status page of the ops port at ``url``."""
    return f"{url.rstrip('/')}/superedge/status"


def read_status(url: str) -> Any:
    """The status page of the ops port at ``url``, decoded. Raises ClickException."""
    page = page_of(url)
    try:
        with urllib.request.urlopen(page, timeout=TIMEOUT) as response:
            return json.load(response)
    except (OSError, ValueError, HTTPException) as problem:
        reason = str(getattr(problem, "reason", problem)).strip()
        raise click.ClickException(f"{page} cannot be read: {reason}") from problem


def show(
    read: Callable[[], S], render: Callable[[S, float], RenderableType], output: str, watch: bool
) -> None:
    """Print what ``read`` returns: as JSON, as a table, or as a table that is refreshed until Ctrl-C.

    ``render`` is given the value and Unix time.
    """
    console = table_console()
    if output == "json":
        if watch:
            raise click.UsageError("--watch cannot be combined with --output json")
        click.echo(json.dumps(read(), indent=1))
    elif watch:
        with Live(render(read(), time.time()), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_INTERVAL)
                live.update(render(read(), time.time()), refresh=True)
    else:
        console.print(render(read(), time.time()))
