"""Puts a node's network back from a snapshot. Blocking; in a process of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from superedge.config.networksnapshot import NetworkSnapshotConfig
from superedge.errors import SuperEdgeError
from superedge.netsnapshot.choice import Choice, choose
from superedge.netsnapshot.directory import read_snapshots
from superedge.netsnapshot.document import Snapshot
from superedge.netsnapshot.plan import Plan, make_plan
from superedge.netsnapshot.texts import MAX_FILE, read_ipam, read_texts

if TYPE_CHECKING:
    from superedge.netsnapshot.rtnetlink import Applier

DISABLE_IPV6 = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
INTERVAL = 1.0
"""Seconds between two tries while something that others need is missing."""


@dataclass(slots=True)
class Outcome:
    """What a restore did.

    ``faults`` has a sentence for each file that could not be read, ``failed`` one for each thing that could
    not be put back, ``overtaken`` one for each that a live agent made at the same time. ``temporary`` tells
    whether a device or address that others need is missing, and may still come.
    """

    plan: Plan
    faults: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    overtaken: list[str] = field(default_factory=list)
    temporary: bool = False


def find_snapshot(
    config: NetworkSnapshotConfig, node: str, boot_id: str, force: bool, unfinished: Container[int]
) -> Choice:
    """The snapshot to restore. Raises SuperEdgeError when the directory cannot be read."""
    try:
        found = read_snapshots(config.directory)
    except OSError as problem:
        raise SuperEdgeError(f"{config.directory} cannot be read: {problem.strerror}") from problem
    return choose(found, node, config.pod_cidrs, boot_id, force, unfinished)


def wanted_files(config: NetworkSnapshotConfig, snapshot: Snapshot) -> dict[str, str]:
    """The snapshot's files that the configuration names; no others, because root writes them."""
    named = set(map(str, config.files))
    files = {path: text for path, text in snapshot.files.items() if path in named}
    for network, text in snapshot.ipam.items():
        if network not in ("", ".", "..") and "/" not in network:
            files[str(config.ipam / network / "state")] = text
    return files


def has_ipv6() -> bool:
    """Whether new devices of this network namespace may have IPv6 addresses."""
    try:
        return DISABLE_IPV6.read_text().strip() == "0"
    except OSError:
        return False


def repeat(attempt: Callable[[], Outcome], deadline: float) -> Outcome:
    """Restore, and again each second while devices or addresses that others need are missing.

    ``attempt`` is a call of `restore`; ``deadline`` is of the monotonic clock.
    """
    outcome = attempt()
    while outcome.temporary and time.monotonic() < deadline:
        time.sleep(INTERVAL)
        again = attempt()
        outcome.plan.left = again.plan.left
        outcome.overtaken += again.overtaken
        outcome.failed, outcome.temporary = again.failed, again.temporary
    return outcome


def restore(config: NetworkSnapshotConfig, snapshot: Snapshot, dry_run: bool, rebooted: bool) -> Outcome:
    """Put back what the node does not have. Raises SuperEdgeError when its network cannot be read.

    superedge-ipam's state is put back after a reboot only: until then pods may run that it does not have.
    """
    from pyroute2 import IPRoute  # noqa: PLC0415

    from superedge.netsnapshot.listing import read_all  # noqa: PLC0415
    from superedge.netsnapshot.rtnetlink import Applier, dump  # noqa: PLC0415

    files = wanted_files(config, snapshot)
    faults: list[str] = []
    there = read_texts((path for path in config.files if str(path) in files), MAX_FILE, faults)
    kept = {str(config.ipam / network / "state") for network in _networks_with_state(config.ipam, faults)}
    for network in snapshot.ipam:
        path = str(config.ipam / network / "state")
        if path in kept or not rebooted:
            files.pop(path, None)
    try:
        with IPRoute() as netlink:

            def plan() -> Plan:
                return make_plan(snapshot.facts, read_all(dump(netlink)), files, there, has_ipv6())

            outcome = Outcome(plan(), faults)
            if not dry_run:
                _apply(outcome, Applier(netlink), plan)
    except OSError as problem:
        raise SuperEdgeError(f"the network cannot be read: {problem.strerror or problem}") from problem
    except ValueError as problem:
        raise SuperEdgeError(f"the snapshot has a value that cannot be used: {problem}") from problem
    if not dry_run:
        _write_files(outcome)
    return outcome


def _apply(outcome: Outcome, applier: Applier, plan_again: Callable[[], Plan]) -> None:
    """Make devices, see which are as they should be, and make the rest on these."""
    planned = outcome.plan.create
    refused = list(applier.create(planned))
    if planned:
        # A live agent may have made one of them at the same time, in another way.
        overtaken = {each.what for each in refused if each.errno == errno.EEXIST}
        refused = [each for each in refused if each.errno != errno.EEXIST]
        outcome.plan = plan_again()
        outcome.plan.create = [each for each in planned if f"device {each.name}" not in overtaken]
        outcome.plan.there -= len(outcome.plan.create) - len(refused)
    for each in (*refused, *applier.apply(outcome.plan)):
        if each.errno == errno.EPERM:
            raise SuperEdgeError("the network cannot be changed: that takes root, or CAP_NET_ADMIN")
        if each.errno == errno.EEXIST:
            outcome.overtaken.append(f"{each.what} was made at the same time")
        else:
            outcome.failed.append(str(each))
            outcome.temporary |= each.temporary


def _networks_with_state(directory: Path, faults: list[str]) -> Iterable[str]:
    """Networks with any state, damaged or not: the plugin decides what to do with it."""
    found = set(read_ipam(directory, faults))
    with contextlib.suppress(OSError):
        found |= {each for each in os.listdir(directory) if (directory / each / "state.backup").exists()}
    return found


def _write_files(outcome: Outcome) -> None:
    for path, text in outcome.plan.files.items():
        new = f"{path}.new"
        try:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
            with open(descriptor, "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(descriptor)
            try:
                os.link(new, path)  # fails if an agent has written it meanwhile
            finally:
                os.unlink(new)
        except FileExistsError:
            outcome.overtaken.append(f"{path} was written at the same time")
        except OSError as problem:
            outcome.failed.append(f"{path} cannot be written: {problem.strerror}")
