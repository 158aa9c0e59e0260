"""What a node passes on, and how often."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.health.edge.forwarding import REROUTES, Forwarding
from superedge.health.edge.voter import Voter
from superedge.health.votes.ballot import SignedBallot
from superedge.health.votes.ballotbox import Held
from superedge.health.votes.messages import NO_ROUTE, Hops, Member, Unit
from superedge.health.votes.reference import ReferenceClock
from superedge.health.votes.signing import Signer, Verifier
from superedge.health.votes.timing import Timing
from tests.health.simulation import _Trusting, _Unsigned
from tests.health.voters import NOW, ballot


class Link:
    """A connection; what is sent on it."""

    def __init__(self) -> None:
        self.hops: list[int] = []
        self.votes: list[SignedBallot] = []

    def send(self, message: Hops) -> None:
        self.hops.append(message.hops)

    def vote(self, signed: SignedBallot, chain: tuple[bytes, ...]) -> None:
        self.votes.append(signed)


class ForwardingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        reference = ReferenceClock(self.clock.seconds, self.clock.seconds)
        voter = Voter("own", cast(Signer, _Unsigned("own")), reference, Timing(), 100)
        names = ["own", "near", "far", *(f"edge-{number}" for number in range(20))]
        voter.join(Unit("shop", 10, tuple(Member(name, name) for name in names)))
        self.near, self.far = Link(), Link()
        links = cast(Any, {self.near: "near", self.far: "far"})
        signers = {name: _Unsigned(name) for name in names}
        held = [Held(each, signers[each.voter].sign(each), NOW) for each in map(ballot, names)]
        verifier = cast(Verifier, _Trusting())
        self.forwarding = Forwarding(self.clock, voter, verifier, links, lambda: held)
        for signer in signers.values():
            verifier.learn(signer.chain, NOW)
        self.addCleanup(self.forwarding.stop)

    def test_all_that_is_held_takes_a_new_way(self) -> None:
        self.forwarding.joined(cast(Any, self.far), NO_ROUTE)
        self.assertEqual((self.far.votes, self.far.hops, self.forwarding.hops), ([], [], NO_ROUTE))
        self.forwarding.joined(cast(Any, self.near), 0)
        self.assertEqual(len(self.near.votes), 21, "all but its own and the peer's")
        self.assertEqual((self.near.hops, self.far.hops, self.far.votes), ([1], [1], []))

    def test_a_peer_whose_route_changes_all_the_time_is_answered_now_and_then(self) -> None:
        uplink = Link()
        self.forwarding.session(cast(Any, uplink))
        self.forwarding.joined(cast(Any, self.near), 0)
        self.clock.advance(60)
        uplink.votes.clear()
        for number in range(400):
            self.forwarding.moved(cast(Any, self.far), number % 2 and NO_ROUTE)
            self.clock.advance(0.01)
        self.assertLessEqual(len(uplink.votes), (REROUTES + 4) * 21)
        self.clock.advance(10)
        after = len(uplink.votes)
        self.clock.advance(60)
        self.assertEqual(len(uplink.votes), after)

    def test_the_last_number_of_hops_is_told(self) -> None:
        for number in range(101):
            self.forwarding.joined(cast(Any, self.far), number % 2)
        self.assertLess(len(self.near.hops), 12)
        self.clock.advance(5)
        self.assertEqual((self.near.hops[-1], self.forwarding.hops), (1, 1))
