"""What the judge knows of a node and concludes from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from superedge.health.cloud.cluster import NodeLease
from superedge.health.votes.decisions import Contact, Outcome
from superedge.health.votes.timing import Timing
from superedge.health.votes.verdicts import Judgement, Verdict
from superedge.net.bucket import Bucket

CHANGES = 0.1
"""Changes of a node's verdict a second in the long run, whatever its witnesses say: each is written."""
BURST = 4


class Settings(NamedTuple):
    """``minimum``: witnesses that it takes to call a node dead. ``keep_unknown``: seconds, None for ever."""

    witnesses: int = 10
    minimum: int = 2
    keep_unknown: float | None = None
    timing: Timing = Timing()


class Assessment(NamedTuple):
    """The conclusion about one node. ``since``: when its verdict changed, seconds since 1970."""

    verdict: Verdict
    judgement: Judgement
    contact: Contact
    outcome: Outcome
    since: float


@dataclass(slots=True)
class NodeState:
    """What is known of a node besides its Node object.

    ``renewed`` (its Lease's last renewal) and ``unknown_since`` are times of the reactor's clock,
    ``disagreeing_since`` (its witnesses) one of `Judge.now`.
    """

    renewed: float
    session: bool
    lease: NodeLease | None = None
    lost_session: bool = False
    answers: bool = True
    assessment: Assessment | None = None
    unknown_since: float | None = None
    disagreeing_since: int | None = None
    _changes: Bucket = field(default_factory=lambda: Bucket(CHANGES, BURST, 0.0))

    def may_change(self, now: int) -> bool:
        """Whether the verdict may change once more, which is then counted; ``now`` as `Judge.now`."""
        if self._changes.delay(now / 1000):
            return False
        self._changes.consume(1, now / 1000)
        return True
