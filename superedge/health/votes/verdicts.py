"""What a unit's ballots say of a node. Pure.

Only a node's own witnesses count, each once; what they cannot tell is not counted. A node that is alone in
its unit speaks for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from superedge.health.votes.ballot import Ballot, Opinion

MINIMUM = 2
"""Witnesses that it takes to call a node dead."""


class Verdict(Enum):
    """Of the peers alone; the cloud has its own word on top."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Judgement(NamedTuple):
    """A verdict with its grounds: witnesses by what they say, sorted, and all whom the node has."""

    verdict: Verdict
    healthy: tuple[str, ...]
    unhealthy: tuple[str, ...]
    witnesses: int

    @property
    def reason(self) -> str:
        """For people."""
        said = len(self.healthy) + len(self.unhealthy)
        if not said:
            return f"none of {self.witnesses} witnesses speaks of it"
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
    """What the ballots that count now say of a node.

    Args:
        witnesses: the node's, see `witnesses_of`.
        ballot_of: a voter's ballot, if it has one that has not expired.
        stale: milliseconds after which a check says nothing any more.
        lost: whether the cloud has lost the node itself: the one witness of a site of two then suffices.
        minimum: witnesses that it takes to call a node dead.
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
