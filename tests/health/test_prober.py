"""Checks that are under way when the unit changes."""

from __future__ import annotations

from random import Random
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from superedge.health.edge.partners import Partners
from superedge.health.edge.prober import Prober
from superedge.health.edge.probes.probeset import ConfiguredProbe, ProbeSet
from superedge.health.edge.voter import Voter
from superedge.health.votes.ballot import Opinion
from superedge.health.votes.messages import Member, Unit
from superedge.health.votes.reference import ReferenceClock
from superedge.health.votes.signing import Signer
from superedge.health.votes.timing import Timing
from tests.health.simulation import _Unsigned

PEER = Member("edge-2", "192.0.2.2")


class _Silent:
    """Never answers."""

    asked = 0

    async def check(self, host: str, port: int, timeout: float) -> None:
        self.asked += 1
        await Deferred()


class _Even(Random):
    """The middle of what may be drawn."""

    def random(self) -> float:
        return 0.5


class ProberTests(SynchronousTestCase):
    def test_a_check_under_way_of_a_peer_that_leaves_is_the_last(self) -> None:
        clock, silent = Clock(), _Silent()
        probe_set = ProbeSet(
            clock,
            [ConfiguredProbe("a", silent, 0.5, 2.0, 0, 1), ConfiguredProbe("b", silent, 0.5, 2.0, 0, 2)],
            bool,
        )
        reference = ReferenceClock(clock.seconds, clock.seconds)
        voter = Voter("edge-1", cast(Signer, _Unsigned("edge-1")), reference, Timing(), 100)
        changes: list[Any] = []
        prober = Prober(clock, voter, probe_set.score, lambda: changes.append(1), 5.0)
        prober.startService()
        prober.probe(voter.join(Unit("shop", 10, (Member("edge-1", "192.0.2.1"), PEER))))
        clock.advance(1)
        self.assertEqual(silent.asked, 2)
        prober.probe(voter.join(Unit("", 0, ())))
        clock.advance(30)
        self.assertEqual((silent.asked, changes), (2, []))
        prober.stopService()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_peer_without_an_address_is_neither_checked_nor_dialled(self) -> None:
        reference = ReferenceClock(lambda: 0.0, lambda: 0.0)
        voter = Voter("edge-1", cast(Signer, _Unsigned("edge-1")), reference, Timing(), 100)
        bare = Member("edge-3", "")
        self.assertEqual(voter.join(Unit("shop", 10, (Member("edge-1", "192.0.2.1"), PEER, bare))), [PEER])
        self.assertEqual({row.peer for row in voter.rows(0.0)}, {"edge-1", "edge-2"})
        self.assertEqual(list(Partners(voter).due((), 0.0)), [PEER])

    def test_a_peer_whose_address_changes_is_checked_there_at_once(self) -> None:
        """What is under way at the old one does not count."""
        clock, asked = Clock(), []

        async def check(member: Member, multiplier: float) -> int:
            asked.append(member.host)
            if member.host == PEER.host:
                await deferLater(clock, 2.0)
                return 0
            return 100

        reference = ReferenceClock(clock.seconds, clock.seconds)
        voter = Voter("edge-1", cast(Signer, _Unsigned("edge-1")), reference, Timing(), 100)
        said: list[Opinion] = []
        prober = Prober(clock, voter, check, lambda: said.append(voter.peers["edge-2"].opinion), 5.0, _Even())
        prober.startService()
        own = Member("edge-1", "192.0.2.1")
        prober.probe(voter.join(Unit("shop", 10, (own, PEER))))
        while len(asked) < 2:
            clock.advance(0.1)
        prober.probe(voter.join(Unit("shop", 10, (own, Member("edge-2", "192.0.2.9")))))
        clock.pump([0.1] * 30)
        self.assertEqual((asked, said), (["192.0.2.2", "192.0.2.2", "192.0.2.9"], [Opinion.HEALTHY]))
        clock.pump([0.1] * 30)
        self.assertEqual(asked[3:], ["192.0.2.9"], "at its usual pace")
        prober.stopService()
        self.assertEqual(clock.getDelayedCalls(), [])
