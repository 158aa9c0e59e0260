"""Makes a node's ballots from what it knows of the peers that it probes. Pure: times are arguments."""

from __future__ import annotations

from collections.abc import Sequence

from superedge.health.edge.peerstate import LocalHealth, PeerState, is_isolated
from superedge.health.votes.ballot import MAX_ROWS, Ballot, Opinion, Row, SignedBallot
from superedge.health.votes.messages import Member, Unit
from superedge.health.votes.reference import ReferenceClock
from superedge.health.votes.signing import Signer
from superedge.health.votes.timing import Timing
from superedge.health.votes.witnesses import probed_by

NOBODY = Unit("", 0, ())


class Voter:
    """One node. ``line`` is the lowest score, 0 to 100, of a healthy peer."""

    def __init__(self, name: str, signer: Signer, clock: ReferenceClock, timing: Timing, line: int) -> None:
        self.name = name
        self.unit = NOBODY
        self.local = LocalHealth()
        self.peers: dict[str, PeerState] = {}
        self._signer = signer
        self._clock = clock
        self._timing = timing
        self._line = line
        self._sequence = 0
        self._members: dict[str, Member] = {}

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificate chain with which its ballots are verified."""
        return self._signer.chain

    def join(self, unit: Unit) -> Sequence[Member]:
        """Join a unit. Returns the members to probe, by name; the state of those that stay is kept.

        Nothing can be said of a member whose Node object has no address.
        """
        self.unit = unit
        self._members = {member.name: member for member in unit.members}
        if self.name not in self._members:
            self.peers = {}
            return ()
        probed = probed_by(self.name, list(self._members), unit.witnesses)
        names = sorted(name for name in probed if self._members[name].host)[: MAX_ROWS - 1]
        self.peers = {name: self.peers.get(name) or PeerState() for name in names}
        return [self._members[name] for name in names]

    def member(self, name: str) -> Member | None:
        """A member of the unit, itself included."""
        return self._members.get(name)

    def observe(self, peer: str, score: int, now: float) -> bool:
        """A check ended. Returns whether the opinion changed. Failures of a slow node do not count."""
        state = self.peers.get(peer)
        if state is None:
            return False
        if score < self._line and self.local.slow:
            state.missed()
            return False
        return state.observe(score, self._line, now)

    def at_least(self, sequence: int) -> None:
        """The next ballot has a higher number than this."""
        self._sequence = max(self._sequence, sequence)

    def rows(self, now: float) -> tuple[Row, ...]:
        """The rows of a ballot. This node is healthy; its peers are unknown if it reaches none of them."""
        doubt = is_isolated(self.peers.values())
        found = [Row(self.name, Opinion.HEALTHY, 100, 0)]
        for name, state in self.peers.items():
            opinion, checked = state.opinion, state.checked
            if checked is None or doubt or now - checked > self._timing.stale:
                opinion = Opinion.UNKNOWN
            age = 0 if checked is None else max(0, int((now - checked) * 1000))
            found.append(Row(name, opinion, state.score, age))
        return tuple(sorted(found, key=lambda row: row.peer))

    def vote(self, now: float) -> SignedBallot:
        """A new signed ballot; ``now`` is by the same clock as in `observe`."""
        issued = self._clock.now()
        self._sequence = max(self._sequence + 1, issued)
        expires = issued + int(self._timing.life * 1000)
        unit = self.unit.name
        return self._signer.sign(Ballot(1, self.name, unit, self._sequence, issued, expires, self.rows(now)))
