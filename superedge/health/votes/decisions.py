"""The decision table: what happens to a node's pods. Pure.

docs/how-to/edge-health.md describes it. Both kinds of enforcement follow it.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

from superedge.health.votes.verdicts import Verdict

Ready = Literal["True", "False", "Unknown"]
"""The status of a Node's Ready condition."""


class Contact(Enum):
    """The cloud's own contact with a node, which it loses before Ready becomes Unknown.

    SUSPECT: its Lease is overdue. LOST: it does not answer over the tunnel either, or Ready is Unknown.
    """

    GOOD = "good"
    SUSPECT = "suspect"
    LOST = "lost"


class Outcome(Enum):
    """NOTHING to do; KEEP the pods; EVICT them by SuperEdge's taint; NATIVE: left to Kubernetes."""

    NOTHING = "nothing"
    KEEP = "keep"
    EVICT = "evict"
    NATIVE = "native"


def contact_of(ready: Ready, lease_overdue: bool, answers: bool) -> Contact:
    """``answers``: the node has a tunnel session, and answered the last ping."""
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
        keep_unknown: seconds for which a lost node with the verdict UNKNOWN is kept; None for no limit.
        unknown_for: seconds for which it has been in this state.
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
