"""Which snapshot a restore uses. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import NamedTuple

from superedge.netsnapshot.directory import Found
from superedge.netsnapshot.document import Snapshot


class Choice(NamedTuple):
    """The snapshot to restore, or None and why; ``passed_over`` has a sentence for each newer one."""

    snapshot: Snapshot | None
    reason: str
    passed_over: tuple[str, ...] = ()
    failed: bool = False


def choose(
    found: Sequence[Found], node: str, pod_cidrs: Sequence[str], boot_id: str, force: bool = False
) -> Choice:
    """The newest intact snapshot of this node and podCIDR, if it is from an earlier boot or with ``force``.

    ``found`` is newest first. Without ``pod_cidrs`` any podCIDR counts as this node's.
    """
    expected = {str(ip_network(text)) for text in pod_cidrs}
    passed = []
    for each in found:
        snapshot = each.snapshot
        if snapshot is None:
            passed.append(each.fault)
        elif snapshot.node != node:
            passed.append(f"{each.path} is of the node {snapshot.node!r}, and this is {node!r}")
        elif expected and snapshot.pod_cidrs and set(snapshot.pod_cidrs) != expected:
            theirs = ", ".join(snapshot.pod_cidrs)
            passed.append(f"{each.path} is of the podCIDR {theirs}, and this node has {', '.join(pod_cidrs)}")
        elif snapshot.boot_id == boot_id and not force:
            reason = f"{each.path} is from this boot: the node has not rebooted since"
            return Choice(None, reason, tuple(passed))
        else:
            return Choice(snapshot, str(each.path), tuple(passed))
    if not found:
        return Choice(None, "there is no snapshot", (), True)
    return Choice(None, "no snapshot can be used", tuple(passed), True)
