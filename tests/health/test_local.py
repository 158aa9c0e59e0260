"""A node's own clock, its view of a peer and how far it trusts itself."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.health.edge.peerstate import LocalHealth, PeerState, is_isolated
from superedge.health.votes.ballot import Opinion
from superedge.health.votes.messages import NO_ROUTE
from superedge.health.votes.reference import ReferenceClock


class PeerStateTests(SynchronousTestCase):
    def test_two_failures_in_a_row(self) -> None:
        state = PeerState()
        self.assertIs(state.opinion, Opinion.UNKNOWN)
        self.assertFalse(state.observe(0, 100, 1.0))
        self.assertTrue(state.observe(100, 100, 2.0))
        self.assertIs(state.opinion, Opinion.HEALTHY)
        self.assertFalse(state.observe(99, 100, 3.0))
        self.assertFalse(state.observe(100, 100, 4.0))
        self.assertFalse(state.observe(0, 100, 5.0))
        self.assertTrue(state.observe(0, 100, 6.0))
        self.assertIs(state.opinion, Opinion.UNHEALTHY)
        self.assertEqual((state.score, state.checked), (0, 6.0))

    def test_a_line_below_100(self) -> None:
        state = PeerState()
        state.observe(60, 60, 1.0)
        self.assertIs(state.opinion, Opinion.HEALTHY)

    def test_a_check_that_was_missed_breaks_the_row(self) -> None:
        state = PeerState()
        state.observe(0, 100, 1.0)
        state.missed()
        self.assertFalse(state.observe(0, 100, 2.0))

    def test_who_reaches_nobody_is_the_one_cut_off(self) -> None:
        states = [PeerState() for _ in range(3)]
        self.assertFalse(is_isolated(states))
        for state in states:
            state.observe(0, 100, 1.0)
            state.observe(0, 100, 2.0)
        self.assertTrue(is_isolated(states))
        self.assertFalse(is_isolated(states[:1]))
        states[1].observe(100, 100, 3.0)
        self.assertFalse(is_isolated(states))

    def test_a_late_node_doubts_itself(self) -> None:
        health = LocalHealth()
        health.lag(0.4)
        self.assertEqual((health.multiplier, health.slow), (1, False))
        health.lag(3.2)
        self.assertEqual((health.multiplier, health.slow), (5, True))
        health.lag(100.0)
        self.assertEqual(health.multiplier, 9)
        for _ in range(7):
            health.lag(0.0)
        self.assertFalse(health.slow)


class ReferenceClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.wall, self.steady = 1000.0, 50.0
        self.clock = ReferenceClock(lambda: self.wall, lambda: self.steady)

    def test_its_own_until_it_hears_better(self) -> None:
        self.assertEqual((self.clock.now(), self.clock.heard), (1_000_000, False))

    def test_the_clouds_word_stays_when_the_machines_clock_jumps(self) -> None:
        self.clock.cloud_says(5_000_000)
        self.wall, self.steady = 9e9, 51.0
        self.assertEqual((self.clock.now(), self.clock.heard), (5_001_000, True))
        self.clock.peer_says("a", 1, 0)
        self.assertEqual(self.clock.now(), 5_001_000)

    def test_without_a_session_the_peers_nearest_to_the_cloud_count(self) -> None:
        self.clock.cloud_says(5_000_000)
        self.clock.session_lost()
        self.clock.peer_says("cut", 4_000_000, NO_ROUTE)
        self.assertEqual(self.clock.now(), 5_000_000)
        self.clock.peer_says("far", 6_000_000, 2)
        self.clock.peer_says("near", 7_000_000, 1)
        self.assertEqual(self.clock.now(), 7_000_000)
        self.clock.peer_moved("near", NO_ROUTE)
        self.assertEqual(self.clock.now(), 6_000_000)
        self.clock.cloud_says(5_500_000)
        self.assertEqual(self.clock.now(), 5_500_000)

    def test_one_lying_peer_does_not_set_the_time(self) -> None:
        for peer, now in (("a", 5_000_000), ("liar", 9_000_000), ("b", 5_000_100)):
            self.clock.peer_says(peer, now, 0)
        self.assertEqual(self.clock.now(), 5_000_100)
        self.clock.peer_says("liar", 1, -1)
        self.assertEqual(self.clock.now(), 5_000_000)
        self.clock.peer_moved("liar", -2)
        self.assertEqual(self.clock.now(), 5_000_000)

    def test_nor_one_of_two_that_of_a_node_which_had_the_clouds(self) -> None:
        self.clock.cloud_says(5_000_000)
        self.clock.session_lost()
        self.clock.peer_says("a", 5_000_100, 0)
        for lie in (1, 9_000_000):
            self.clock.peer_says("liar", lie, 0)
            self.assertIn(self.clock.now(), (5_000_000, 5_000_100))
        for peer in ("a", "liar"):
            self.clock.peer_says(peer, 7_000_000, 0)
        self.assertEqual(self.clock.now(), 7_000_000)

    def test_so_many_peers_are_remembered(self) -> None:
        for number in range(40):
            self.clock.peer_says(f"p{number}", 5_000_000, 0)
        self.assertLessEqual(len(self.clock._from_peers), 16)
