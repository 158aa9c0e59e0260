"""Ballots that count now: each voter's newest. Pure: time is an argument, milliseconds since 1970.

A ballot counts until it expires, by the clock and by the time since it came in: one whose voter is ahead of
the time lives no longer than it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from superedge.health.votes.ballot import Ballot, Refused, SignedBallot
from superedge.health.votes.signing import Verifier

ALLOWANCE = 10_000
"""Milliseconds that a voter's clock may be ahead; one that is behind loses so much of its ballots' life."""


class Held(NamedTuple):
    """``until`` is when it counts no more."""

    ballot: Ballot
    signed: SignedBallot
    until: int


class BallotBox:
    """Takes ballots of a unit's members. ``unit_of`` gives a node's unit, None for a node that has none."""

    def __init__(self, verifier: Verifier, unit_of: Callable[[str], str | None]) -> None:
        self._verifier = verifier
        self._unit_of = unit_of
        self._held: dict[str, Held] = {}

    def take(self, signed: SignedBallot, now: int) -> Ballot | None:
        """The ballot if it is new, None if it is the one that is held already. Raises Refused."""
        ballot = self._verifier.check(signed, now)
        unit = self._unit_of(ballot.voter)
        if unit is None or unit != ballot.unit:
            raise Refused("foreign", f"{ballot.voter} votes in unit {ballot.unit!r}, which is not its own")
        held = self._held.get(ballot.voter)
        if held is not None and ballot.sequence <= held.ballot.sequence:
            if signed.body == held.signed.body:
                return None
            raise Refused(
                "replayed", f"ballot {ballot.sequence} of {ballot.voter} is not newer than the last"
            )
        if ballot.issued > now + ALLOWANCE:
            raise Refused(
                "future", f"a ballot of {ballot.voter} is {ballot.issued - now} ms ahead of the time"
            )
        if ballot.expires <= now:
            raise Refused("expired", f"a ballot of {ballot.voter} expired {now - ballot.expires} ms ago")
        until = min(ballot.expires, now + ballot.expires - ballot.issued)
        self._held[ballot.voter] = Held(ballot, signed, until)
        return ballot

    def last(self, voter: str) -> int:
        """The highest sequence number that was taken of a voter, expired or not; 0 if none was."""
        held = self._held.get(voter)
        return 0 if held is None else held.ballot.sequence

    def get(self, voter: str, now: int) -> Ballot | None:
        """A voter's ballot, if it counts."""
        held = self._held.get(voter)
        return held.ballot if held is not None and held.until > now else None

    def current(self, now: int) -> Iterator[Held]:
        """Every ballot that counts."""
        return (held for held in self._held.values() if held.until > now)

    def forget(self, keep: Callable[[str], bool]) -> None:
        """Drop what voters left that are no members any more."""
        self._held = {voter: held for voter, held in self._held.items() if keep(voter)}
