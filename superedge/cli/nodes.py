"""`superedge nodes`: lists the nodes of a cloud end, from the status page of its ops port."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table
from rich.text import Text

from superedge.cli.statuspage import URL, page_of, read_status, show

_COLUMNS = ("NAME", "STATE", "SINCE", "PEER", "VERSION", "RTT", "STREAMS", "IN", "OUT", "LAST ERROR")


def read_nodes(url: str) -> list[dict[str, Any]]:
    """The nodes on the status page at ``url``. Raises ClickException."""
    status = read_status(url)
    try:
        nodes: list[dict[str, Any]] = status["tunnel_cloud"]["nodes"]
    except (KeyError, TypeError) as problem:
        raise click.ClickException(f"{page_of(url)} has no nodes: it is not that of a cloud end") from problem
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
    show(lambda: read_nodes(url), make_table, output, watch)


if __name__ == "__main__":
    nodes()
