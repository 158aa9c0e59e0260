"""``superedge dns``: what a node's DNS server knows, and the way from CoreDNS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from superedge.cli.corefile import CorefileError, convert
from superedge.cli.statuspage import URL, page_of, read_status


@click.group()
def dns() -> None:
    """Ask a node's DNS server, or convert a Corefile."""


def read_dns(url: str) -> dict[str, Any]:
    """The table ``local_dns`` of the status page. Raises ClickException."""
    try:
        found: dict[str, Any] = read_status(url)["local_dns"]
    except (KeyError, TypeError) as problem:
        raise click.ClickException(f"{page_of(url)} is not of a process with a local_dns table") from problem
    return found


def describe(status: dict[str, Any]) -> str:
    """The status for people."""
    age = status["snapshot"]["age"]
    followed = "followed" if status["synced"] else "not read since the start"
    lines = [
        f"services         {status['services']}",
        f"endpoint slices  {status['endpoint_slices']}",
        f"API server       {'; '.join([followed, *status.get('problems', ())])}",
        f"snapshot         {status['snapshot']['path']}, {'none' if age is None else f'{age:.0f} s old'}",
    ]
    if "cache" in status:
        cache = status["cache"]
        counts = f"{cache['hits']} hits, {cache['misses']} misses, {cache['stale']} stale"
        lines.append(f"cache            {cache['entries']} answers: {counts}")
    for upstream in status.get("upstreams", ()):
        state = "works" if upstream["healthy"] else "does not answer"
        lines.append(f"upstream         {upstream['server']} for {' '.join(upstream['zones'])} {state}")
    return "\n".join(lines)


@dns.command("status", short_help="Show what the server knows, and whom it asks.")
@click.option("--url", default=URL, show_default=True, help="The ops port of an edge process.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def status_command(url: str, output: str) -> None:
    """Show the zone's size, the snapshot's age, the cache and the upstream servers."""
    status = read_dns(url)
    click.echo(json.dumps(status, indent=1) if output == "json" else describe(status))


@dns.command("import")
@click.argument("corefile", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_command(corefile: Path) -> None:
    """Print the tables that do what a COREFILE of CoreDNS does.

    What has no counterpart is said on standard error, and the exit code is 1 then.
    """
    try:
        found = convert(corefile.read_text(encoding="utf-8"))
    except (CorefileError, UnicodeDecodeError) as problem:
        raise click.ClickException(f"{corefile}: {problem}") from problem
    click.echo(found.toml, nl=False)
    for remark in found.remarks:
        click.echo(f"{corefile}: {remark}", err=True)
    if found.remarks:
        raise SystemExit(1)
