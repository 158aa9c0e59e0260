"""The decision table: what becomes of a node's pods. Pure.

docs/how-to/edge-health.md has it for people. Both ways of enforcement go by it.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

from superedge.health.votes.verdicts import Verdict

Ready = Literal["True", "False", "Unknown"]
"""The status of a Node's Ready condition."""


class Contact(Enum):
    """What the cloud itself knows of a node, before Ready says it.

    SUSPECT: its Lease is overdue. LOST: it does not answer over the tunnel either, or Ready is Unknown.
    """

    GOOD = "good"
    SUSPECT = "suspect"
    LOST = "lost"


class Outcome(Enum):
    """NOTHING to do; KEEP the pods; EVICT them by our own taint; leave them to the cluster (NATIVE)."""

    NOTHING = "nothing"
    KEEP = "keep"
    EVICT = "evict"
    NATIVE = "native"


def contact_of(ready: Ready, lease_overdue: bool, answers: bool) -> Contact:
    """``answers``: the node has a tunnel session, and answered when it was asked last."""
    if ready == "Unknown" or (lease_overdue and not answers):
        return Contact.LOST
    return Contact.SUSPECT if lease_overdue else Contact.GOOD


def decide(
    ready: Ready,
    contact: Contact,
    verdict: Verdict,
    *,
    keep_unknown: float | None,
    unknown_for: float,
) -> Outcome:
    """The outcome for one node.

    Args:
        keep_unknown: seconds that a node is kept of which its peers know nothing; None for ever.
        unknown_for: seconds that the cloud has lost the node and its peers know nothing.
    """
    if ready == "False":
        return Outcome.NATIVE
    if contact is Contact.GOOD:
        return Outcome.NOTHING
    if verdict is Verdict.DEAD:
        return Outcome.EVICT if contact is Contact.LOST else Outcome.NATIVE
    if verdict is Verdict.ALIVE or keep_unknown is None or unknown_for < keep_unknown:
        return Outcome.KEEP
    return Outcome.NATIVE
