"""The newest ballot of each voter. Pure: time is an argument, in milliseconds since 1970.

A ballot counts until its expiry, and no longer after its receipt than its lifetime. The second limit is for
voters whose clock is ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from superedge.health.votes.ballot import Ballot, Refused, SignedBallot
from superedge.health.votes.signing import Verifier

ALLOWANCE = 10_000
"""Maximum milliseconds by which a voter's clock may be ahead. If it is behind, its ballots expire earlier."""


class Held(NamedTuple):
    """``until`` is the time at which the ballot expires here."""

    ballot: Ballot
    signed: SignedBallot
    until: int


class BallotBox:
    """Verifies and holds ballots. ``unit_of`` returns a node's unit, or None."""

    def __init__(self, verifier: Verifier, unit_of: Callable[[str], str | None]) -> None:
        self._verifier = verifier
        self._unit_of = unit_of
        self._held: dict[str, Held] = {}

    def take(self, signed: SignedBallot, now: int) -> Ballot | None:
        """Returns the ballot if it is new, None if it is held already. Raises Refused."""
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
        """The sequence number of the voter's newest ballot, expired or not; 0 without one."""
        held = self._held.get(voter)
        return 0 if held is None else held.ballot.sequence

    def get(self, voter: str, now: int) -> Ballot | None:
        """The voter's ballot, or None if there is none that is valid now."""
        held = self._held.get(voter)
        return held.ballot if held is not None and held.until > now else None

    def current(self, now: int) -> Iterator[Held]:
        """All ballots that are valid now."""
        return (held for held in self._held.values() if held.until > now)

    def drop(self, voter: str) -> None:
        """Drop the ballot of one voter."""
        self._held.pop(voter, None)

    def forget(self, keep: Callable[[str], bool]) -> None:
        """Drop the ballots of voters for which ``keep`` returns False."""
        self._held = {voter: held for voter, held in self._held.items() if keep(voter)}
