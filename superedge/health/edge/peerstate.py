"""What a node knows of one peer, and how far it trusts itself. Pure: time is an argument, seconds.

Local health is Lifeguard's (Dadgar, Phillips, Currey: "Lifeguard: Local Health Awareness for More Accurate
Failure Detection", 2018): a node that is late itself blames itself first.
"""

from __future__ import annotations

from collections.abc import Collection

from superedge.health.votes.ballot import Opinion

FAILURES = 2
"""Failed checks in a row that make a peer unhealthy."""
LAG = 0.5
"""Seconds by which a timer may be late before the node counts as slow."""
MOST = 8
"""The highest multiplier of timeouts, less one."""


class PeerState:
    """The checks of one peer."""

    __slots__ = ("checked", "failures", "opinion", "score")

    def __init__(self) -> None:
        self.checked: float | None = None
        self.failures = 0
        self.score = 0
        self.opinion = Opinion.UNKNOWN

    def observe(self, score: int, line: int, now: float) -> bool:
        """A check ended with this score, of which ``line`` is healthy; whether the opinion changed."""
        self.checked = now
        self.score = score
        before = self.opinion
        if score >= line:
            self.failures = 0
            self.opinion = Opinion.HEALTHY
        else:
            self.failures += 1
            if self.failures >= FAILURES:
                self.opinion = Opinion.UNHEALTHY
        return self.opinion is not before

    def missed(self) -> None:
        """A check that this node was too slow to make: it says nothing of the peer."""
        self.failures = 0


class LocalHealth:
    """0 when this node is well; timeouts grow with it."""

    def __init__(self) -> None:
        self.level = 0

    @property
    def multiplier(self) -> int:
        """Of timeouts."""
        return 1 + self.level

    @property
    def slow(self) -> bool:
        """Whether what this node says of others is to be doubted."""
        return self.level > 1

    def lag(self, seconds: float) -> None:
        """A timer was so late."""
        if seconds > LAG:
            self.level = min(MOST, self.level + 1 + int(seconds))
        elif self.level:
            self.level -= 1


def is_isolated(states: Collection[PeerState]) -> bool:
    """Whether the node reaches none of its peers, of whom there are several: then it is the one cut off."""
    return len(states) > 1 and all(state.opinion is Opinion.UNHEALTHY for state in states)
