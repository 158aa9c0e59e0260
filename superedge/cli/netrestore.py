"""``superedge netrestore``: puts a node's network back after a reboot without the cloud."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from superedge.config.checks import check_networks
from superedge.config.load import load_config
from superedge.config.networksnapshot import NetworkSnapshotConfig
from superedge.config.root import Config
from superedge.errors import EXIT_FAILED, ConfigError
from superedge.netsnapshot.commands import commands
from superedge.netsnapshot.directory import path_of
from superedge.netsnapshot.document import Snapshot
from superedge.netsnapshot.names import node_name, read_boot_id
from superedge.netsnapshot.restore import find_snapshot, repeat, restore
from superedge.netsnapshot.unfinished import read_unfinished, write_unfinished

CONFIG = Path("/etc/superedge/edge.toml")
EXIT_NO_SNAPSHOT = 3
"""There is no snapshot, as on a node that has just been installed."""


def settings(
    config: Path | None, directory: Path | None, node: str, pod_cidrs: tuple[str, ...]
) -> NetworkSnapshotConfig:
    """The table network_snapshot with what the options say instead. Raises ConfigError, ConfigFaults."""
    found = NetworkSnapshotConfig()
    if config is not None or CONFIG.exists():
        path = (config or CONFIG).absolute()
        table = load_config(Config, path).network_snapshot
        if table is None and directory is None:
            raise ConfigError(str(path), "network_snapshot", "is not there, so there are no snapshots")
        found = table or found
    given = {"directory": directory, "node": node, "pod_cidrs": list(pod_cidrs)}
    return msgspec.structs.replace(found, **{key: value for key, value in given.items() if value})


def _check_cidrs(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        check_networks("--pod-cidr", values)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from problem
    return values


@click.command()
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, readable=False),
    help=f"Configuration whose table network_snapshot counts.  [default: {CONFIG}, if it is there]",
)
@click.option("--directory", type=click.Path(path_type=Path), help="Directory of the snapshots.")
@click.option("--node", default="", help="Name of this node.")
@click.option(
    "--pod-cidr",
    "pod_cidrs",
    multiple=True,
    callback=_check_cidrs,
    help="Network of its pods. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be put back, as commands of iproute2.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Wait this long for devices and addresses that others need.",
)
@click.option("--force", is_flag=True, help="Restore although the node has not rebooted since the snapshot.")
def netrestore(
    config: Path | None,
    directory: Path | None,
    node: str,
    pod_cidrs: tuple[str, ...],
    dry_run: bool,
    wait: float,
    force: bool,
) -> None:
    """Put the node's network back from the last snapshot, after a reboot.

    Devices, addresses, forwarding entries, neighbours, routes, rules and files that the node lacks are made;
    nothing that is there is changed. What an earlier run could not put back is tried again, in this boot
    and the next one. Exits with 0 when everything is there at the end or the node has not
    rebooted, with 1 if something cannot be put back or no snapshot is of this node and intact, with 3 if
    there is none.
    """
    table = settings(config, directory, node, pod_cidrs)
    boot_id = read_boot_id()
    unfinished = read_unfinished(table.directory)
    choice = find_snapshot(table, node_name(table.node), boot_id, force, unfinished)
    for text in choice.passed_over:
        click.echo(text, err=True)
    if choice.snapshot is None and not choice.unfinished:
        if not choice.failed:
            click.echo(f"nothing is restored: {choice.reason}")
            return
        click.echo(f"{table.directory}: nothing is restored: {choice.reason}", err=True)
        raise SystemExit(EXIT_FAILED if choice.passed_over else EXIT_NO_SNAPSHOT)
    chosen = [*choice.unfinished]
    unfinished = {number: unfinished[number] for number, _ in chosen}
    if choice.snapshot is not None:
        chosen.insert(0, (choice.number, choice.snapshot))
        unfinished[choice.number] = boot_id
    deadline = time.monotonic() + wait
    whole = True
    for number, snapshot in chosen:
        if not dry_run:
            _remember(table.directory, unfinished)
        # Pods may run by the time that an earlier restore is finished.
        rebooted = snapshot.boot_id != boot_id and number == choice.number
        done = _restore(table, snapshot, path_of(table.directory, number), dry_run, rebooted, deadline)
        if done or unfinished[number] != boot_id:
            del unfinished[number]
        whole &= done
    if not dry_run:
        _remember(table.directory, unfinished)
    if not whole:
        raise SystemExit(EXIT_FAILED)


def _remember(directory: Path, unfinished: dict[int, str]) -> None:
    try:
        write_unfinished(directory, unfinished)
    except OSError as problem:
        click.echo(f"{directory}: another run may not finish this one: {problem.strerror}", err=True)


def _restore(
    table: NetworkSnapshotConfig,
    snapshot: Snapshot,
    path: Path,
    dry_run: bool,
    rebooted: bool,
    deadline: float,
) -> bool:
    """Restore one snapshot and say what came of it; whether nothing failed."""
    started = time.monotonic()
    outcome = repeat(lambda: restore(table, snapshot, dry_run, rebooted), deadline)
    plan = outcome.plan
    left = plan.left + outcome.overtaken
    for line in commands(plan):
        click.echo(line)
    for text in left:
        click.echo(f"left as it is: {text}")
    failed = outcome.failed + outcome.faults
    for text in failed:
        click.echo(text, err=True)
    verb = "to put back" if dry_run else "put back"
    took = "" if dry_run else f" in {time.monotonic() - started:.2f} s"
    done = len(plan) - len(outcome.failed) - len(outcome.overtaken)
    counts = f"{done} {verb}, {plan.there} there already, {len(left)} left"
    click.echo(f"{path}: {counts}, {len(failed)} failed{took}")
    return not failed
