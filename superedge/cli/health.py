"""``superedge health``: the verdicts on nodes, from the status page of a cloud end or of a node."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from superedge.cli.nodes import age
from superedge.cli.statuspage import URL, page_of, read_status, show

_CLOUD = (
    "UNIT",
    "NODE",
    "READY",
    "CONTACT",
    "VERDICT",
    "SINCE",
    "OUTCOME",
    "REACHED BY",
    "NOT REACHED BY",
    "BALLOT AGE",
)
_NODE = ("VOTER", "BALLOT", "PEER", "SAYS", "SCORE", "CHECKED")
_COLOURS = {
    "alive": "green", "healthy": "green", "dead": "bold red", "unhealthy": "bold red", "unknown": "yellow",
    "keep": "cyan", "evict": "bold red",
}  # fmt: skip

Section = dict[str, Any]


def read_health(url: str) -> Section:
    """The table ``edge_admission`` of the page, or else ``edge_health``. Raises ClickException."""
    status = read_status(url)
    found = status.get("edge_admission") or status.get("edge_health") if isinstance(status, dict) else None
    if not isinstance(found, dict):
        page = page_of(url)
        raise click.ClickException(f"{page} is not of a process with a table edge_admission or edge_health")
    return found


def _cell(value: object) -> Text:
    """Names come from nodes: they are shown as text, without markup or control sequences."""
    text = "".join(char if char.isprintable() else "?" for char in str(value))
    return Text(text, _COLOURS.get(text, ""))


def _cloud_rows(found: Section, now: float) -> Iterator[tuple[object, ...]]:
    for unit in found["units"]:
        for node in unit["nodes"]:
            yield (
                unit["unit"] or "(all)",
                node["name"],
                node["ready"],
                node["contact"],
                node["verdict"],
                age(now - node["since"]),
                node["outcome"],
                " ".join(node["healthy"]),
                " ".join(node["unhealthy"]),
                "" if node["ballot"] is None else age(now - node["ballot"]),
            )


def _node_rows(found: Section) -> Iterator[tuple[object, ...]]:
    for said in (found["own"], *found["ballots"]):
        for row in said["rows"]:
            if row["peer"] != said["voter"]:
                checked = f"{row['age'] / 1000:.0f}s before"
                issued = time.strftime("%H:%M:%S", time.localtime(said["issued"] / 1000))
                yield said["voter"], issued, row["peer"], row["says"], row["score"], checked


def render(found: Section, now: float) -> Group:
    """A line about the process, and the table. ``now`` in seconds since 1970."""
    columns: tuple[str, ...]
    if "judging" not in found:
        way = "a session with the cloud" if found["connected"] else f"{found['hops']} hops to the cloud"
        links = ", ".join(found["links"]) or "nobody"
        about = f"{found['node']} in unit {found['unit']!r}: {way}, links with {links}"
        rows, columns = _node_rows(found), _NODE
    elif not found["judging"]:
        return Group(
            _cell(f"this replica does not judge; the judge is {found['judge'] or 'not elected yet'}")
        )
    else:
        fault = found["enforcement_fault"]
        about = f"enforcement by {found['enforcement']} " + (
            f"is NOT in force: {fault}" if fault else "works"
        )
        rows, columns = _cloud_rows(found, now), _CLOUD
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(_cell, row))
    return Group(_cell(about), table)


@click.command()
@click.option("--url", default=URL, show_default=True, help="The ops address of a cloud end or of a node.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--watch", is_flag=True, help="Update the table every two seconds.")
def health(url: str, output: str, watch: bool) -> None:
    """Show units, nodes, verdicts, and the opinions of their peers."""
    show(lambda: read_health(url), render, output, watch)


if __name__ == "__main__":
    health()
