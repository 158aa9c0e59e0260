"""Whole units on a fake clock."""

from __future__ import annotations

from statistics import median
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from superedge.health.votes.ballot import decode_ballot
from superedge.health.votes.decisions import Contact, Outcome
from superedge.health.votes.messages import Hello
from superedge.health.votes.signing import Signer
from superedge.health.votes.verdicts import Verdict
from tests.health.simulation import EPOCH, Site, _Unsigned


def site(count: int, **fields: float) -> Site:
    made = Site([f"edge-{n}" for n in range(count)], **fields)  # type: ignore[arg-type]
    made.start()
    made.run(30)
    return made


class DeathTests(SynchronousTestCase):
    def time_to_verdict(self, count: int, loss: float = 0.0, seed: int = 1) -> float:
        unit = site(count, loss=loss, seed=seed)
        self.assertEqual({unit.verdict(name) for name in unit.nodes}, {Verdict.ALIVE})
        died = unit.clock.seconds()
        unit.nodes["edge-1"].die()
        unit.run(60)
        dead = [seen for seen in unit.seen if seen.verdict is Verdict.DEAD]
        self.assertEqual([seen.node for seen in dead], ["edge-1"])
        return dead[0].at - died

    def test_within_fifteen_seconds_in_units_of_all_sizes(self) -> None:
        for count in (3, 6, 10, 30):
            self.assertLess(self.time_to_verdict(count), 15)

    def test_with_loss_as_well(self) -> None:
        self.assertLess(median(self.time_to_verdict(10, 0.1, seed) for seed in range(5)), 15)

    def test_a_dead_node_that_comes_back_is_alive(self) -> None:
        unit = site(6)
        node = unit.nodes["edge-1"]
        node.die()
        unit.run(60)
        node.alive = True
        unit.run(15)
        self.assertIs(unit.verdict("edge-1"), Verdict.ALIVE)

    def test_a_site_of_two(self) -> None:
        unit = site(2)
        unit.cut(unit.nodes["edge-1"])
        unit.run(60)
        self.assertIs(unit.verdict("edge-1"), Verdict.ALIVE)
        unit.nodes["edge-1"].die()
        unit.run(15)
        self.assertIs(unit.verdict("edge-1"), Verdict.DEAD)
        unit.run(40)
        self.assertIs(unit.verdict("edge-0"), Verdict.UNKNOWN)


class CutTests(SynchronousTestCase):
    def test_a_node_that_loses_the_cloud_alone_is_kept(self) -> None:
        unit = site(6)
        unit.cut(unit.nodes["edge-1"], noticed=22)
        unit.run(300)
        assessment = unit.judge.assessment("edge-1")
        assert assessment is not None
        self.assertEqual((assessment.verdict, assessment.contact), (Verdict.ALIVE, Contact.LOST))
        self.assertIs(assessment.outcome, Outcome.KEEP)
        self.assertEqual(
            [seen for seen in unit.seen if seen.verdict is not Verdict.ALIVE and seen.at > 20], []
        )

    def test_a_voter_that_was_away_is_relayed_over_the_links_that_had_it_before(self) -> None:
        unit = site(3)
        unit.apart.append({"edge-0", "edge-2"})
        last = unit.nodes["edge-2"]
        for node in (unit.nodes["edge-1"], last):
            unit.cut(node)
        unit.run(60)
        self.assertIsNotNone(unit.judge.box.get("edge-2", unit.judge.now()))
        last.die()
        unit.run(60)
        self.assertIsNone(unit.judge.box.get("edge-2", unit.judge.now()))
        unit.judge.listens("edge-1", 4711)
        for node in unit.nodes.values():
            node.join(unit.judge.unit(node.name))
        last.alive = True
        last.start()
        unit.run(60)
        self.assertIsNotNone(unit.judge.box.get("edge-2", unit.judge.now()))

    def test_ballots_of_the_cut_are_relayed(self) -> None:
        """Five of six have no session: what they say of the sixth decides all the same."""
        unit = site(7)
        for number in range(5):
            unit.cut(unit.nodes[f"edge-{number}"])
        unit.run(60)
        for number in range(5):
            self.assertIs(unit.verdict(f"edge-{number}"), Verdict.ALIVE)
        died = unit.clock.seconds()
        unit.nodes["edge-5"].die()
        unit.run(30)
        assessment = unit.judge.assessment("edge-5")
        assert assessment is not None
        self.assertEqual((assessment.verdict, assessment.outcome), (Verdict.DEAD, Outcome.EVICT))
        self.assertGreater(len(assessment.judgement.unhealthy), 3)
        dead = [seen.at for seen in unit.seen if seen.verdict is Verdict.DEAD]
        self.assertLess(dead[0] - died, 15)

    def test_ballots_are_relayed_however_often_the_certificate_was_renewed(self) -> None:
        unit = site(3)
        cut = unit.nodes["edge-1"]
        unit.cut(cut)
        for number in range(1, 20):
            cut.voter._signer = cast(Signer, _Unsigned("edge-1", number))
            cut.exchange.changed()
            unit.run(5)
        unit.run(40)
        now = int((EPOCH + unit.clock.seconds()) * 1000)
        self.assertIsNotNone(unit.judge.box.get("edge-1", now))

    def test_a_node_does_not_bring_its_own_old_ballots(self) -> None:
        """They come back to it over its links while it has no session."""
        unit = site(4)
        for node in unit.nodes.values():
            unit.cut(node)
        unit.run(30)
        brought: list[tuple[str, str]] = []
        for name, node in unit.nodes.items():
            node.exchange._forwarding._pass_on = lambda source, signed, name=name: brought.append(  # type: ignore[method-assign,misc]
                (name, decode_ballot(signed.body).voter)
            )
        for node in unit.nodes.values():
            unit.connect(node)
        unit.run(5)
        self.assertEqual([pair for pair in brought if pair[0] == pair[1]], [])

    def test_relayed_over_many_hops(self) -> None:
        unit = site(30)
        for number in range(1, 30):
            unit.cut(unit.nodes[f"edge-{number}"])
        unit.run(40)
        held = list(unit.judge.box.current(int((1_900_000_000 + unit.clock.seconds()) * 1000)))
        self.assertGreater(len(held), 27)

    def test_a_site_that_loses_the_cloud_is_unknown_and_kept(self) -> None:
        unit = site(6)
        for node in unit.nodes.values():
            unit.cut(node)
        unit.run(120)
        for name in unit.nodes:
            assessment = unit.judge.assessment(name)
            assert assessment is not None
            self.assertEqual((assessment.verdict, assessment.outcome), (Verdict.UNKNOWN, Outcome.KEEP))

    def test_a_split_site_whose_halves_have_the_cloud_loses_nobody(self) -> None:
        unit = site(6)
        for number in range(3):
            unit.nodes[f"edge-{number}"].side = 1
        unit.run(120)
        for name in unit.nodes:
            assessment = unit.judge.assessment(name)
            assert assessment is not None
            self.assertIs(assessment.outcome, Outcome.NOTHING)

    def test_a_node_that_reaches_nobody_blames_nobody(self) -> None:
        unit = site(6)
        unit.nodes["edge-1"].side = 1
        unit.run(60)
        rows = {row.peer: row.opinion.name for row in unit.nodes["edge-1"].voter.rows(unit.clock.seconds())}
        self.assertEqual({rows[f"edge-{n}"] for n in (0, 2, 3, 4, 5)}, {"UNKNOWN"})
        self.assertIs(unit.verdict("edge-1"), Verdict.DEAD)
        for number in (0, 2, 3, 4, 5):
            self.assertIs(unit.verdict(f"edge-{number}"), Verdict.ALIVE)

    def test_a_verdict_does_not_outlive_its_ballots(self) -> None:
        unit = site(6)
        for node in unit.nodes.values():
            unit.cut(node)
        unit.run(10)
        self.assertIs(unit.verdict("edge-1"), Verdict.ALIVE)
        unit.run(60)
        self.assertIs(unit.verdict("edge-1"), Verdict.UNKNOWN)


class ClockTests(SynchronousTestCase):
    def test_a_site_with_wrong_clocks_counts_again_from_its_first_contact_on(self) -> None:
        unit = Site([f"edge-{n}" for n in range(5)], skew=-3600.0)
        for node in unit.nodes.values():
            node.cloud = False
        unit.start()
        unit.run(60)
        self.assertIs(unit.verdict("edge-1"), Verdict.UNKNOWN)
        unit.connect(unit.nodes["edge-0"])
        unit.run(25)
        self.assertEqual({unit.verdict(f"edge-{n}") for n in range(5)}, {Verdict.ALIVE})

    def test_one_clock_ahead_is_set_right_by_peers(self) -> None:
        unit = site(5)
        late = unit.nodes["edge-1"]
        unit.cut(late)
        unit.run(5)
        late.reference._from_cloud = late.reference._from_cloud and late.reference._from_cloud + 3.6e6
        unit.run(1)
        self.assertIs(unit.verdict("edge-2"), Verdict.ALIVE)

    def test_another_judge_with_another_time_hears_all_nodes(self) -> None:
        """Those that it reaches over peers, too, over several hops."""
        unit = site(14)
        for number in range(2, 14):
            unit.cut(unit.nodes[f"edge-{number}"])
        unit.run(30)
        for skew in (60.0, -3600.0):
            unit.replace_judge(skew)
            unit.run(14)
            heard = {held.ballot.voter for held in unit.judge.box.current(unit.judge.now())}
            self.assertEqual(heard, set(unit.nodes), skew)
            unit.run(40)
            self.assertEqual({unit.verdict(name) for name in unit.nodes}, {Verdict.ALIVE})

    def test_a_node_that_is_cut_goes_by_its_peers_time(self) -> None:
        unit = site(5)
        unit.nodes["edge-1"].side = 1
        unit.cut(unit.nodes["edge-1"])
        unit.run(60)
        unit.replace_judge(60.0)
        unit.nodes["edge-1"].side = 0
        unit.run(60)
        self.assertIn("edge-1", {held.ballot.voter for held in unit.judge.box.current(unit.judge.now())})

    def test_a_peer_whose_time_jumps_makes_no_flood(self) -> None:
        unit = site(4)
        for number in (1, 2, 3):
            unit.cut(unit.nodes[f"edge-{number}"])
        unit.run(30)
        node, link = next(
            (cut, link)
            for cut in (unit.nodes[f"edge-{number}"] for number in (1, 2, 3))
            for link, peer in cut.exchange._links.items()
            if peer == "edge-0"
        )
        messages = unit.messages
        for number in range(200):
            node.exchange._from_peer(link, Hello(int(EPOCH * 1000) + number % 2 * 5000, True, 0))
        self.assertEqual(unit.messages - messages, 0)
        unit.run(1)
        self.assertLess(unit.messages - messages, 100)


class CostTests(SynchronousTestCase):
    def test_a_node_costs_the_same_in_units_of_all_sizes(self) -> None:
        for count in (10, 40):
            unit = site(count)
            unit.bytes.clear()
            unit.run(40)
            mean = sum(size for name, size in unit.bytes.items() if name) / count / 40
            self.assertLess(mean, 1000, count)

    def test_no_false_death_under_loss(self) -> None:
        for loss, seed in ((0.1, 1), (0.1, 2), (0.3, 3)):
            unit = site(10, loss=loss, seed=seed)
            unit.run(150)
            self.assertEqual([seen for seen in unit.seen if seen.verdict is Verdict.DEAD], [])
