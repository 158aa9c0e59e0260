"""The state of one peer by its checks, and the node's own health. Pure: time is an argument, seconds.

Local health is Lifeguard's (Dadgar, Phillips, Currey: "Lifeguard: Local Health Awareness for More Accurate
Failure Detection", 2018): a node whose own timers are late does not report peers as unhealthy.
"""

from __future__ import annotations

from collections.abc import Collection

from superedge.health.votes.ballot import Opinion

FAILURES = 2
"""Failed checks in a row that make a peer unhealthy."""
LAG = 0.5
"""Seconds by which a timer may be late before the node counts as slow."""
MOST = 8
"""The highest level; the multiplier of timeouts is one more."""


class PeerState:
    """The checks of one peer."""

    __slots__ = ("checked", "failures", "opinion", "score")

    def __init__(self) -> None:
        self.checked: float | None = None
        self.failures = 0
        self.score = 0
        self.opinion = Opinion.UNKNOWN

    def observe(self, score: int, line: int, now: float) -> bool:
        """A check ended; scores of ``line`` and more are healthy. Returns whether the opinion changed."""
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
        """A check failed while this node itself was slow: it does not count."""
        self.failures = 0


class LocalHealth:
    """``level`` is 0 when this node's timers are on time, and rises with their lateness."""

    def __init__(self) -> None:
        self.level = 0

    @property
    def multiplier(self) -> int:
        """The factor for the timeouts of checks."""
        return 1 + self.level

    @property
    def slow(self) -> bool:
        """Whether failed checks of this node do not count."""
        return self.level > 1

    def lag(self, seconds: float) -> None:
        """A timer was late by so many seconds."""
        if seconds > LAG:
            self.level = min(MOST, self.level + 1 + int(seconds))
        elif self.level:
            self.level -= 1


def is_isolated(states: Collection[PeerState]) -> bool:
    """Whether none of several peers is reached: then this node is taken for the one that is cut off."""
    return len(states) > 1 and all(state.opinion is Opinion.UNHEALTHY for state in states)
