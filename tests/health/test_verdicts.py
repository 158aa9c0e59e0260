from __future__ import annotations

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from superedge.health.votes.ballot import Opinion
from superedge.health.votes.decisions import Contact, Outcome, contact_of, decide
from superedge.health.votes.verdicts import Judgement, Verdict, judge
from superedge.health.votes.witnesses import witnesses_of
from tests.health.voters import NOW, ballot

YES, NO, HM = Opinion.HEALTHY, Opinion.UNHEALTHY, Opinion.UNKNOWN
FIVE = ["a", "b", "c", "d", "x"]


def said(
    opinions: Mapping[str, Opinion],
    members: list[str] = FIVE,
    lost: bool = True,
    age: int = 0,
    minimum: int = 2,
) -> Judgement:
    """What is said of x."""
    ballots = {voter: ballot(voter, {"x": opinion}, age=age) for voter, opinion in opinions.items()}
    return judge(
        "x", witnesses_of("x", members, 10), ballots.get, NOW, stale=20_000, lost=lost, minimum=minimum
    )


class VerdictTests(SynchronousTestCase):
    def test_a_majority(self) -> None:
        self.assertIs(said({"a": YES, "b": YES, "c": NO}).verdict, Verdict.ALIVE)
        self.assertIs(said({"a": NO, "b": NO, "c": YES}).verdict, Verdict.DEAD)
        self.assertIs(said({"a": NO, "b": NO, "c": YES, "d": YES}).verdict, Verdict.UNKNOWN)

    def test_one_liar_in_five_changes_nothing(self) -> None:
        for liar in "abcd":
            honest = dict.fromkeys("abcd", YES) | {liar: NO}
            self.assertIs(said(honest).verdict, Verdict.ALIVE)
            honest = dict.fromkeys("abcd", NO) | {liar: YES}
            self.assertIs(said(honest).verdict, Verdict.DEAD)

    def test_nobody_is_dead_by_one_witness(self) -> None:
        self.assertIs(said({"a": NO}).verdict, Verdict.UNKNOWN)
        self.assertIs(said({"a": NO, "b": HM}).verdict, Verdict.UNKNOWN)
        self.assertIs(said({"a": NO, "b": NO}, minimum=3).verdict, Verdict.UNKNOWN)

    def test_what_cannot_be_told_does_not_count(self) -> None:
        self.assertIs(said(dict.fromkeys("abcd", HM)).verdict, Verdict.UNKNOWN)
        self.assertIs(said({"a": YES, "b": HM, "c": HM}).verdict, Verdict.ALIVE)

    def test_its_own_word_is_set_aside(self) -> None:
        self.assertIs(said({"x": YES}).verdict, Verdict.UNKNOWN)
        self.assertIs(said({"x": YES, "a": NO, "b": NO}).verdict, Verdict.DEAD)

    def test_a_site_of_two_needs_the_clouds_own_loss(self) -> None:
        two = ["a", "x"]
        self.assertIs(said({"a": NO}, two, lost=True).verdict, Verdict.DEAD)
        self.assertIs(said({"a": NO}, two, lost=False).verdict, Verdict.UNKNOWN)
        self.assertIs(said({"a": YES, "x": YES}, two).verdict, Verdict.ALIVE)

    def test_a_site_of_one_speaks_for_itself_and_never_dies_by_its_peers(self) -> None:
        self.assertIs(said({"x": YES}, ["x"]).verdict, Verdict.ALIVE)
        self.assertIs(said({}, ["x"]).verdict, Verdict.UNKNOWN)
        self.assertIs(said({"x": NO}, ["x"]).verdict, Verdict.UNKNOWN)

    def test_a_check_of_long_ago_says_nothing(self) -> None:
        self.assertIs(said({"a": NO, "b": NO}, age=20_000).verdict, Verdict.DEAD)
        self.assertIs(said({"a": NO, "b": NO}, age=20_001).verdict, Verdict.UNKNOWN)

    def test_only_its_witnesses_count(self) -> None:
        members = [f"n{n}" for n in range(100)] + ["x"]
        ballots = {voter: ballot(voter, {"x": NO}) for voter in members}
        found = judge("x", witnesses_of("x", members, 10), ballots.get, NOW, stale=20_000, lost=True)
        self.assertEqual((found.verdict, len(found.unhealthy)), (Verdict.DEAD, 10))
        outsiders = {voter: said for voter, said in ballots.items() if voter not in found.unhealthy}
        found = judge("x", witnesses_of("x", members, 10), outsiders.get, NOW, stale=20_000, lost=True)
        self.assertEqual((found.verdict, found.unhealthy), (Verdict.UNKNOWN, ()))

    def test_grounds(self) -> None:
        self.assertEqual(said({"a": NO, "b": NO}).reason, "2 of 2 witnesses do not reach it: a, b")
        self.assertEqual(said({"b": YES}).reason, "1 of 1 witnesses reach it: b")
        self.assertEqual(said({}).reason, "none of 4 witnesses has an opinion")
        self.assertEqual(said({"a": NO, "b": YES}).reason, "1 witnesses reach it, 1 do not")


class DecisionTests(SynchronousTestCase):
    def outcome(
        self,
        ready: str,
        contact: Contact,
        verdict: Verdict,
        keep_unknown: float | None = None,
        unknown_for: float = 0.0,
    ) -> Outcome:
        return decide(
            ready,  # type: ignore[arg-type]
            contact,
            verdict,
            keep_unknown=keep_unknown,
            unknown_for=unknown_for,
        )

    def test_the_whole_table(self) -> None:
        for verdict in Verdict:
            self.assertIs(self.outcome("True", Contact.GOOD, verdict), Outcome.NOTHING)
            for contact in Contact:
                self.assertIs(self.outcome("False", contact, verdict), Outcome.NATIVE)
        for ready, contact in (("Unknown", Contact.LOST), ("True", Contact.LOST)):
            self.assertIs(self.outcome(ready, contact, Verdict.ALIVE), Outcome.KEEP)
            self.assertIs(self.outcome(ready, contact, Verdict.DEAD), Outcome.EVICT)
            self.assertIs(self.outcome(ready, contact, Verdict.UNKNOWN), Outcome.KEEP)
        self.assertIs(self.outcome("True", Contact.SUSPECT, Verdict.ALIVE), Outcome.KEEP)
        self.assertIs(self.outcome("True", Contact.SUSPECT, Verdict.DEAD), Outcome.NATIVE)

    def test_how_long_the_unknown_are_kept(self) -> None:
        cases = [(None, 1e9, Outcome.KEEP), (0.0, 0.0, Outcome.NATIVE)]
        cases += [(60.0, 59.0, Outcome.KEEP), (60.0, 60.0, Outcome.NATIVE)]
        for keep, since, outcome in cases:
            found = self.outcome("Unknown", Contact.LOST, Verdict.UNKNOWN, keep, since)
            self.assertIs(found, outcome, (keep, since))
            self.assertIs(self.outcome("Unknown", Contact.LOST, Verdict.ALIVE, keep, since), Outcome.KEEP)

    def test_contact(self) -> None:
        self.assertIs(contact_of("True", False, True), Contact.GOOD)
        self.assertIs(contact_of("True", False, False), Contact.GOOD)
        self.assertIs(contact_of("True", True, True), Contact.SUSPECT)
        self.assertIs(contact_of("True", True, False), Contact.LOST)
        self.assertIs(contact_of("Unknown", False, True), Contact.LOST)
