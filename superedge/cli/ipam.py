"""``superedge ipam``: the CNI plugin that keeps pods' addresses, and what it has allocated."""

from __future__ import annotations

import errno
import grp
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from superedge.cli.nodes import age
from superedge.cli.output import table_console
from superedge.netsnapshot.ipam import sharing, singlefile
from superedge.netsnapshot.ipam.addresses import Range
from superedge.netsnapshot.ipam.configuration import DIRECTORY, decode_configuration, is_name, range_sets
from superedge.netsnapshot.ipam.errors import IPAMError
from superedge.netsnapshot.ipam.store import Reservation, Store
from superedge.netsnapshot.ipam.verification import problems

_COLUMNS = ("NETWORK", "POD", "INTERFACE", "ADDRESSES", "STATE", "SINCE", "CONTAINER")


def _directory(exists: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option ``--data-dir``."""
    return click.option(
        "--data-dir",
        default=DIRECTORY,
        show_default=True,
        type=click.Path(exists=exists, file_okay=False),
        help="The dataDir of the network configuration.",
    )


class _Commands(click.Group):
    """Commands that report a file that cannot be read or written in one sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as problem:
            if problem.errno == errno.EPIPE:
                raise  # click ends the process quietly
            where = f"{problem.filename}: " if problem.filename else ""
            raise click.ClickException(f"{where}{problem.strerror}") from problem


@click.group(cls=_Commands)
def ipam() -> None:
    """Install the IPAM plugin superedge-ipam, and inspect what it has allocated."""


@ipam.command()
@click.option("--to", default="/opt/cni/bin", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--python", default=singlefile.interpreter, show_default="this one", help="What runs the plugin."
)
def install(to: Path, python: str) -> None:
    """Put the plugin into the container runtime's directory of plugins, as one file.

    Pods may start meanwhile: a former version is replaced in one step.
    """
    target = to / singlefile.NAME
    if not (os.path.isfile(python) and os.access(python, os.X_OK)):
        raise click.UsageError(f"--python: {python} is not a program")
    try:
        singlefile.install(target, python)
    except ValueError as problem:
        raise click.UsageError(f"--python: {problem}") from problem
    click.echo(target)


def _printable(value: str) -> str:
    """What comes from pods, without control sequences."""
    return "".join(char if char.isprintable() else "?" for char in value)


def render(found: list[Reservation], now: float) -> Table:
    """The table. ``now`` in seconds since 1970."""
    table = Table(box=None, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, overflow="fold")
    for each in found:
        pod = f"{each.namespace}/{each.pod}" if each.pod else ""
        since = age(max(0, now - each.since))
        cells = (
            each.network,
            pod,
            each.interface,
            " ".join(each.addresses),
            each.state,
            since,
            each.container[:12],
        )
        table.add_row(*(Text(_printable(cell)) for cell in cells))
    return table


@ipam.command("list")
@_directory()
@click.option("--network", default="", help="One network; otherwise all.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_command(data_dir: str, network: str, output: str) -> None:
    """Show who has which address, and which addresses are reserved for whom."""
    store = Store(data_dir)
    if network and network not in store.networks():
        raise click.ClickException(f"superedge-ipam does not serve a network {network} in {data_dir}")
    found = store.reservations(network)
    if output == "json":
        click.echo(json.dumps([each.as_dict() for each in found], indent=1))
    else:
        table_console().print(render(found, time.time()))


def _ranges(path: Path) -> dict[str, list[list[Range]]]:
    """The range sets in a network configuration, a single one or a list, by the network's name."""
    try:
        document: dict[str, Any] = decode_configuration(path.read_bytes())
        plugins = document.get("plugins", [document])
        for each in plugins if isinstance(plugins, list) else []:
            section = each.get("ipam") if isinstance(each, dict) else None
            if isinstance(section, dict) and section.get("type") == singlefile.NAME:
                name = document.get("name")
                if not is_name(name):
                    raise click.ClickException(f"{path}: name: {name!r} is not a network's name")
                return {str(name): range_sets(each)}
    except IPAMError as problem:
        raise click.ClickException(f"{path}: {problem}") from problem
    raise click.ClickException(f"{path} has no plugin whose ipam.type is {singlefile.NAME}")


@ipam.command()
@_directory()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of /etc/cni/net.d: check that addresses are in its ranges.",
)
def verify(data_dir: str, config: Path | None) -> None:
    """Check the files: checksums, addresses with two holders, addresses outside of the ranges.

    Prints a line for each problem. The exit code is 1 when there is one.
    """
    store, found = Store(data_dir), 0
    ranges = _ranges(config) if config else {}
    names = store.networks()
    for name in sorted({*names, *ranges}):
        if name not in names:
            raise click.ClickException(f"superedge-ipam does not serve a network {name} in {data_dir}")
        with store.open(name) as file:
            said = [*file.damage(), *problems(file.table, file.files, ranges.get(name, []))]
            count = sum(len(record.addresses) for record in file.table.records)
        for line in said:
            click.echo(f"{name}: {_printable(line)}", err=True)
        click.echo(f"{name}: {count} addresses, {len(said)} problems")
        found += len(said)
    if not names:
        click.echo(f"superedge-ipam serves no network in {data_dir}")
    if found:
        raise SystemExit(1)


@ipam.command()
@_directory(exists=False)
@click.argument("group", default="superedge")
def share(data_dir: str, group: str) -> None:
    """Let the edge process end reservations: give the files to its GROUP, superedge by default.

    To be run once, as root; what the plugin makes later has the group too.
    """
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        raise click.UsageError(f"there is no group {group}") from None
    try:
        sharing.share(data_dir, number)
    except OSError as problem:
        raise click.ClickException(f"{data_dir} cannot be shared: {problem.strerror}") from problem


@ipam.command()
@_directory()
@click.argument("pod", metavar="NAMESPACE/POD")
@click.option("--uid", default="", help="Only of the pod with this uid.")
@click.option(
    "--force", is_flag=True, help="Also while the pod is attached: its address may be given to another."
)
def release(data_dir: str, pod: str, uid: str, force: bool) -> None:
    """End the reservation of a pod that does not come back."""
    namespace, slash, name = pod.partition("/")
    if not (slash and namespace and name):
        raise click.UsageError(f"{pod!r} is not NAMESPACE/POD, such as default/web-0")
    store = Store(data_dir)
    ended = store.release(namespace, name, uid, kept=True, attached=force)
    for each in ended:
        click.echo(f"{each.network}: {' '.join(each.addresses)}")
    left = [each for each in store.reservations() if (each.namespace, each.pod) == (namespace, name)]
    if any(each.state == "attached" and uid in ("", each.uid) for each in left):
        raise click.ClickException(f"pod {pod} is attached; --force releases its addresses nevertheless")
    if not ended:
        raise click.ClickException(f"nothing is reserved for pod {pod} in {data_dir}")


if __name__ == "__main__":
    ipam()
