"""`superedge nodes`: lists the nodes of a cloud end, from the status page of its ops port."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

URL = "http://127.0.0.1:51010"
TIMEOUT = 5.0
WATCH_INTERVAL = 2.0

_COLUMNS = ("NAME", "STATE", "SINCE", "PEER", "VERSION", "RTT", "STREAMS", "IN", "OUT", "LAST ERROR")


def read_nodes(url: str) -> list[dict[str, Any]]:
    """The nodes on the status page at ``url``. Raises ClickException."""
    page = f"{url.rstrip('/')}/superedge/status"
    try:
        with urllib.request.urlopen(page, timeout=TIMEOUT) as answer:
            status = json.load(answer)
        nodes: list[dict[str, Any]] = status["tunnel_cloud"]["nodes"]
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "reason", problem)
        raise click.ClickException(f"{page} cannot be read: {reason}") from problem
    except (KeyError, TypeError) as problem:
        raise click.ClickException(f"{page} has no nodes: it is not that of a cloud end") from problem
    return nodes


def age(seconds: float) -> str:
    """A duration in its largest suitable unit, as kubectl prints ages."""
    seconds = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def size(count: float) -> str:
    """A number of bytes with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def make_table(nodes: list[dict[str, Any]], now: float) -> Table:
    """A row for each node, disconnected ones last. ``now`` is Unix time."""
    table = Table(box=None, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, no_wrap=column != "LAST ERROR")
    for node in sorted(nodes, key=lambda node: (not node["connected"], node["name"])):
        rtt = node.get("rtt_seconds")
        cells = (
            node["name"],
            "connected" if node["connected"] else "gone",
            age(now - node["since"]),
            node["peer"],
            node["version"],
            "" if rtt is None else f"{rtt * 1000:.1f} ms",
            str(node.get("streams", "")),
            size(node["bytes_in"]) if "bytes_in" in node else "",
            size(node["bytes_out"]) if "bytes_out" in node else "",
            node["last_error"],
        )
        # Nodes are not trusted: print their texts without markup or control sequences.
        table.add_row(
            *(Text("".join(char if char.isprintable() else "?" for char in cell)) for cell in cells)
        )
    return table


@click.command()
@click.option("--url", default=URL, show_default=True, help="URL of the ops port of a cloud end.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--watch", is_flag=True, help="Refresh the table every two seconds.")
def nodes(url: str, output: str, watch: bool) -> None:
    """List the nodes that are or were connected to a cloud end."""
    console = Console()
    if output == "json":
        if watch:
            raise click.UsageError("--watch cannot be combined with --output json")
        click.echo(json.dumps(read_nodes(url), indent=1))
    elif watch:
        with Live(make_table(read_nodes(url), time.time()), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_INTERVAL)
                live.update(make_table(read_nodes(url), time.time()), refresh=True)
    else:
        if not console.is_terminal:
            console = Console(width=1000)
        console.print(make_table(read_nodes(url), time.time()))


if __name__ == "__main__":
    nodes()
