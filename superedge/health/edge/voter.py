"""A node's own say: what it knows of the peers that it probes, as ballots. Pure: times are arguments."""

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
    """One node. ``line`` is the score, 0 to 100, from which a peer is healthy."""

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
        """What its ballots are verified with."""
        return self._signer.chain

    def join(self, unit: Unit) -> Sequence[Member]:
        """Be in a unit; the members to probe, by name. What is known of those who stay is kept."""
        self.unit = unit
        self._members = {member.name: member for member in unit.members}
        if self.name not in self._members:
            self.peers = {}
            return ()
        names = sorted(probed_by(self.name, list(self._members), unit.witnesses))[: MAX_ROWS - 1]
        self.peers = {name: self.peers.get(name) or PeerState() for name in names}
        return [self._members[name] for name in names]

    def member(self, name: str) -> Member | None:
        """A member of the unit, itself included."""
        return self._members.get(name)

    def observe(self, peer: str, score: int, now: float) -> bool:
        """A check ended; whether that changes what it says. What it could not check well counts as none."""
        state = self.peers.get(peer)
        if state is None:
            return False
        if score < self._line and self.local.slow:
            state.missed()
            return False
        return state.observe(score, self._line, now)

    def at_least(self, sequence: int) -> None:
        """Somebody knows a ballot of this number: the next is higher."""
        self._sequence = max(self._sequence, sequence)

    def rows(self, now: float) -> tuple[Row, ...]:
        """What it says: of itself that it is healthy, of nobody anything if it reaches nobody."""
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
        """A new ballot; ``now`` is the seconds that `observe` is told."""
        issued = self._clock.now()
        self._sequence = max(self._sequence + 1, issued)
        expires = issued + int(self._timing.life * 1000)
        unit = self.unit.name
        return self._signer.sign(Ballot(1, self.name, unit, self._sequence, issued, expires, self.rows(now)))
