"""Verdicts on nodes by the ballots of their units. Pure.

Only a node's witnesses count, and of these only those with an opinion. A node that is alone in its unit is
its own witness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from superedge.health.votes.ballot import Ballot, Opinion

MINIMUM = 2
"""Minimum number of witnesses for the verdict DEAD."""


class Verdict(Enum):
    """The verdict of the peers alone, without the cloud's contact."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Judgement(NamedTuple):
    """A verdict, the witnesses by opinion, sorted, and the number of all witnesses."""

    verdict: Verdict
    healthy: tuple[str, ...]
    unhealthy: tuple[str, ...]
    witnesses: int

    @property
    def reason(self) -> str:
        """A sentence for messages."""
        said = len(self.healthy) + len(self.unhealthy)
        if not said:
            return f"none of {self.witnesses} witnesses has an opinion"
        if self.verdict is Verdict.DEAD:
            return f"{len(self.unhealthy)} of {said} witnesses do not reach it: {', '.join(self.unhealthy)}"
        if self.verdict is Verdict.ALIVE:
            return f"{len(self.healthy)} of {said} witnesses reach it: {', '.join(self.healthy)}"
        return f"{len(self.healthy)} witnesses reach it, {len(self.unhealthy)} do not"


def judge(
    node: str,
    witnesses: Sequence[str],
    ballot_of: Callable[[str], Ballot | None],
    now: int,
    *,
    stale: int,
    lost: bool,
    minimum: int = MINIMUM,
) -> Judgement:
    """The verdict on a node by the ballots that are valid now.

    Args:
        witnesses: the node's, see `witnesses_of`.
        ballot_of: a voter's ballot, if it has one that has not expired.
        stale: age in milliseconds from which a check is ignored.
        lost: whether the cloud lost contact; in a unit of two, one witness then suffices for DEAD.
        minimum: number of witnesses for the verdict DEAD.
    """
    voters = witnesses or [node]
    healthy, unhealthy = [], []
    for voter in voters:
        ballot = ballot_of(voter)
        if ballot is None:
            continue
        row = ballot.of(node)
        if row is None or now - ballot.issued + row.age > stale:
            continue
        if row.opinion is Opinion.HEALTHY:
            healthy.append(voter)
        elif row.opinion is Opinion.UNHEALTHY:
            unhealthy.append(voter)
    needed = 1 if len(voters) == 1 and lost else max(minimum, 2)
    verdict = Verdict.UNKNOWN
    if len(healthy) > len(unhealthy):
        verdict = Verdict.ALIVE
    elif len(unhealthy) > len(healthy) and len(unhealthy) >= needed and witnesses:
        verdict = Verdict.DEAD
    return Judgement(verdict, tuple(sorted(healthy)), tuple(sorted(unhealthy)), len(voters))
