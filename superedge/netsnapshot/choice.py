"""Which snapshot a restore uses. Pure."""

from __future__ import annotations

from collections.abc import Container, Sequence
from ipaddress import ip_network
from typing import NamedTuple

from superedge.netsnapshot.directory import Found
from superedge.netsnapshot.document import Snapshot


class Choice(NamedTuple):
    """The snapshot to restore with its number, or None and why.

    ``passed_over`` has a sentence for each newer one. ``unfinished`` are older ones whose restore is not
    finished: what they have is put back as well.
    """

    snapshot: Snapshot | None
    reason: str
    passed_over: tuple[str, ...] = ()
    failed: bool = False
    number: int = 0
    unfinished: tuple[tuple[int, Snapshot], ...] = ()


def choose(
    found: Sequence[Found],
    node: str,
    pod_cidrs: Sequence[str],
    boot_id: str,
    force: bool = False,
    unfinished: Container[int] = (),
) -> Choice:
    """The newest intact snapshot of this node and podCIDR, if it is from an earlier boot or with ``force``.

    ``found`` is newest first. Without ``pod_cidrs`` any podCIDR counts as this node's. ``unfinished`` has the
    numbers of those whose restore is not finished.
    """
    passed: list[str] = []
    usable: list[tuple[Found, Snapshot]] = []
    for each in found:
        fault = _fault(each, node, pod_cidrs)
        if each.snapshot is not None and not fault:
            usable.append((each, each.snapshot))
        elif not usable:
            passed.append(fault)
    if not found:
        return Choice(None, "there is no snapshot", (), True)
    if not usable:
        return Choice(None, "no snapshot can be used", tuple(passed), True)
    newest, snapshot = usable[0]
    older = tuple((each.number, other) for each, other in usable[1:] if each.number in unfinished)
    if snapshot.boot_id == boot_id and not force:
        reason = f"{newest.path} is from this boot: the node has not rebooted since"
        return Choice(None, reason, tuple(passed), unfinished=older)
    return Choice(snapshot, str(newest.path), tuple(passed), number=newest.number, unfinished=older)


def _fault(found: Found, node: str, pod_cidrs: Sequence[str]) -> str:
    """Why a snapshot is not to be used; empty when it may be."""
    snapshot = found.snapshot
    if snapshot is None:
        return found.fault
    if snapshot.node != node:
        return f"{found.path} is of the node {snapshot.node!r}, and this is {node!r}"
    expected = {str(ip_network(text)) for text in pod_cidrs}
    if expected and snapshot.pod_cidrs and set(snapshot.pod_cidrs) != expected:
        theirs = ", ".join(snapshot.pod_cidrs)
        return f"{found.path} is of the podCIDR {theirs}, and this node has {', '.join(pod_cidrs)}"
    return ""
