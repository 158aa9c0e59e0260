"""Judges each node of the checked units: contact with the cloud, verdict of its peers, outcome for its pods.

The judge receives changes of Nodes, Leases, sessions and ballots as calls. It makes no requests itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from math import inf
from time import time
from typing import Any

from twisted.internet.interfaces import IReactorTime

from superedge.health import metrics
from superedge.health.cloud.assessment import Assessment, NodeState, Settings
from superedge.health.cloud.cluster import DEAD, NodeFacts, NodeLease, Scope
from superedge.health.cloud.units import Units
from superedge.health.votes.ballot import Ballot, Opinion, Refused, SignedBallot
from superedge.health.votes.ballotbox import BallotBox
from superedge.health.votes.decisions import Contact, Outcome, contact_of, decide
from superedge.health.votes.messages import Unit
from superedge.health.votes.reference import ReferenceClock
from superedge.health.votes.signing import Verifier
from superedge.health.votes.verdicts import Verdict, judge
from superedge.kube.times import read_time
from superedge.reactor.periodic import PeriodicCall

OVERDUE = 0.375
"""Part of a Lease's duration after which it is overdue: kubelets renew it in a quarter."""
OVERDUE_ANSWERING = 0.55
"""The same for a node that answers over its session: one renewal may fail and the next be late, without a
write."""
ROUND = 30
"""Seconds in which every node is judged at least once, because ballots expire without an event."""
AT_ONCE = 500
"""Nodes that are judged at the start. More would take too long: the Lease is to be renewed meanwhile."""
LOOK = 1.0
"""Seconds between two calls of `look`."""
DISAGREEMENT = 8.0
"""Seconds that the previous verdict stays while as many witnesses reach a node as do not."""
SETTLING = 15.0
"""Seconds after its start in which a judge without ballots keeps the previous judge's verdict."""


class Judge:
    """Calls ``changed`` with a node whose verdict or outcome changed, or that is no longer checked.

    ``asks`` is called with a node that peers call dead and that has a session: `answered` takes the answer.
    ``regrouped`` is called with a unit whose members changed.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        verifier: Verifier,
        settings: Settings,
        changed: Callable[[str], None],
        asks: Callable[[str], None],
        regrouped: Callable[[str], None],
        wall: Callable[[], float] = time,
    ) -> None:
        self._reactor = reactor
        self._verifier = verifier
        self._settings = settings
        self._changed = changed
        self._asks = asks
        self._wall = wall
        # A time that does not jump when the machine's clock is set: nodes stamp their ballots with it.
        self._clock = ReferenceClock(wall, reactor.seconds)
        self._clock.cloud_says(int(wall() * 1000))
        self._nodes: dict[str, NodeFacts] = {}
        self._units = Units(settings.witnesses, self._not_checked, regrouped)
        self._states: dict[str, NodeState] = {}
        self._sessions: Mapping[str, int] = {}
        self.box = BallotBox(verifier, self._units.by_node.get)
        self._said: dict[str, dict[str, Opinion]] = {}
        self._pending: set[str] = set()
        self._renewals: dict[int, dict[str, None]] = {}
        """Nodes with a Lease by its duration, the last renewed last."""
        self._turn: list[str] = []
        self._started = reactor.seconds()
        self._looking = PeriodicCall(reactor, LOOK, self.look)

    def now(self) -> int:
        """The time that is sent to nodes, in milliseconds since 1970."""
        return self._clock.now()

    # -- life

    def start(self) -> None:
        """Judge the first nodes, those that are not well before the others; `look` judges the rest.

        Nodes have time to renew their Leases, but evicted ones count as lost until they do.
        """
        self._started = self._reactor.seconds()
        for name, state in self._states.items():
            node = self._nodes.get(name)
            evicted = node is not None and node.has_taint(DEAD)
            state.renewed = -inf if evicted else self._started
        turn = sorted(self._units.by_node, key=lambda name: self._nodes[name].ready == "True")
        self._turn = turn[AT_ONCE:]
        for name in turn[:AT_ONCE]:
            self._evaluate(name)
        self._looking.start()

    def stop(self) -> None:
        """Stop judging."""
        self._looking.stop()

    # -- what happens

    def scope_changed(self, scope: Scope) -> None:
        """Other units are checked."""
        self._units.scope_changed(scope, self._nodes.values())

    def node_changed(self, name: str, node: NodeFacts | None) -> None:
        """A Node object came, changed or went (None). Before `start` nothing is concluded from it."""
        if node is None:
            self._nodes.pop(name, None)
            self._units.remove(name)
            self._forget(name)
            return
        self._nodes[name] = node
        self._units.place(node)
        if self._looking.running and self.checks(name):
            self._evaluate(name)

    def listens(self, name: str, port: int) -> None:
        """A node accepts links on this port."""
        self._units.listens(name, port, self._nodes.get(name))

    def _not_checked(self, name: str) -> None:
        """A node is in no checked unit any more."""
        state = self._states.get(name)
        if state is not None:
            state.assessment = state.disagreeing_since = state.unknown_since = None
            self._said.pop(name, None)
            self.box.drop(name)
            self._changed(name)

    def lease_changed(self, name: str, lease: NodeLease | None) -> None:
        """A node's Lease was renewed, or read for the first time."""
        state = self._of(name)
        if lease is None:
            self._drop_renewal(name, state)
            state.lease = None
            self._forget(name)
            return
        if state.lease is None or state.lease.renewed != lease.renewed:
            self._drop_renewal(name, state)
            state.renewed = self._reactor.seconds()
            state.lease = lease
            self._renewals.setdefault(lease.duration, {})[name] = None
            if state.assessment is not None and state.assessment.contact is not Contact.GOOD:
                self._evaluate(name)

    def _drop_renewal(self, name: str, state: NodeState) -> None:
        if state.lease is not None:
            others = self._renewals[state.lease.duration]
            del others[name]
            if not others:
                del self._renewals[state.lease.duration]

    def sessions_changed(self, sessions: Mapping[str, int]) -> None:
        """``sessions`` are all nodes with a session."""
        self._sessions = sessions
        for name in [name for name, state in self._states.items() if state.session and name not in sessions]:
            state = self._states[name]
            state.session, state.lost_session = False, True
            self._evaluate(name)
        for name in sessions:
            found = self._states.get(name)
            if found is not None and not found.session:
                found.session = found.answers = True
                found.lost_session = False
                self._evaluate(name)

    def answered(self, name: str, answers: bool) -> None:
        """Whether a node answered when it was asked, over its session."""
        state = self._states.get(name)
        if state is not None and state.answers is not answers:
            state.answers = answers
            self._evaluate(name)

    def _of(self, name: str) -> NodeState:
        state = self._states.get(name)
        if state is None:
            state = self._states[name] = NodeState(self._reactor.seconds(), name in self._sessions)
        return state

    def _forget(self, name: str) -> None:
        """Drop the state of a node that has neither a Node object nor a Lease."""
        state = self._states.get(name)
        if state is not None and name not in self._nodes and state.lease is None:
            del self._states[name]

    def ballot(self, signed: SignedBallot) -> Ballot | None:
        """Take a ballot from any node. Returns None if it is held already. Raises Refused."""
        try:
            ballot = self.box.take(signed, self.now())
        except Refused as problem:
            metrics.BALLOTS_REFUSED.labels("cloud", problem.reason).inc()
            raise
        if ballot is None:
            return None
        metrics.BALLOTS_TAKEN.labels("cloud").inc()
        said = {row.peer: row.opinion for row in ballot.rows}
        before = self._said.get(ballot.voter, {})
        self._said[ballot.voter] = said
        for peer, opinion in said.items():
            if before.get(peer) is not opinion and self._units.speaks_of(ballot.voter, peer):
                self._evaluate(peer)
        return ballot

    # -- judging

    def look(self) -> None:
        """Judge the nodes whose assessment may change with time, and a share of the others."""
        if not self._turn:
            self._turn = list(self._units.by_node)
        share = len(self._units.by_node) // ROUND + 1
        turn, self._turn = self._turn[:share], self._turn[share:]
        for name in {*self._pending, *turn, *self._overdue()}:
            self._evaluate(name)
        self._count()

    def _overdue(self) -> list[str]:
        """Nodes whose Leases are overdue."""
        found, now = [], self._reactor.seconds()
        for duration, names in self._renewals.items():
            for name in names:
                if now - self._states[name].renewed <= duration * OVERDUE:
                    break  # those behind it were renewed later
                found.append(name)
        return found

    def _evaluate(self, name: str) -> None:
        node = self._nodes.get(name)
        if node is None or not self.checks(name):
            self._pending.discard(name)
            return
        state = self._of(name)
        contact = self._contact(node, state)
        now = self.now()
        judgement = judge(
            name,
            self._units.witnesses(name),
            lambda voter: self.box.get(voter, now),
            now,
            stale=int(self._settings.timing.life * 1000),
            lost=contact is Contact.LOST,
            minimum=self._settings.minimum,
        )
        before = state.assessment
        previous = before.verdict if before is not None else _published(node)
        verdict = judgement.verdict
        settling = self._reactor.seconds() - self._started < SETTLING
        if verdict is not Verdict.UNKNOWN:
            state.disagreeing_since = None
        elif judgement.healthy or judgement.unhealthy:
            # Witnesses find out one after the other.
            state.disagreeing_since = state.disagreeing_since or now
            if now - state.disagreeing_since < DISAGREEMENT * 1000:
                verdict = previous
        elif settling:
            verdict = previous
        held = before is not None and verdict is not previous and not state.may_change(now)
        if held:
            verdict = previous
        if verdict is Verdict.DEAD and state.session and state.answers and self._late(state, OVERDUE):
            self._asks(name)
        since = self._wall()
        if before is not None and before.verdict is verdict:
            since = before.since
        elif before is None and _published(node) is verdict:
            since = _published_at(node) or since
        outcome = decide(
            node.ready,
            contact,
            verdict,
            keep_unknown=self._settings.keep_unknown if node.keep_unknown is None else node.keep_unknown,
            unknown_for=self._unknown_for(node, state, contact, verdict),
        )
        state.assessment = Assessment(verdict, judgement, contact, outcome, since)
        settled = verdict is not Verdict.DEAD and state.disagreeing_since is None and not held
        if contact is Contact.GOOD and settled:
            self._pending.discard(name)
        else:
            self._pending.add(name)
        if before is None or (before.verdict, before.outcome) != (verdict, outcome):
            if verdict is not previous:
                metrics.VERDICTS.labels(verdict.value).inc()
            self._changed(name)

    def _contact(self, node: NodeFacts, state: NodeState) -> Contact:
        answers = state.session and state.answers
        overdue = self._late(state, OVERDUE_ANSWERING if answers else OVERDUE)
        return contact_of(node.ready, overdue, answers)

    def _late(self, state: NodeState, part: float) -> bool:
        """Whether the Lease was not renewed in this part of its duration, or the session of a node without
        a Lease was lost."""
        if state.lease is None:
            return state.lost_session
        return self._reactor.seconds() - state.renewed > state.lease.duration * part

    def _unknown_for(self, node: NodeFacts, state: NodeState, contact: Contact, verdict: Verdict) -> float:
        if contact is not Contact.LOST or verdict is not Verdict.UNKNOWN:
            state.unknown_since = None
            return 0.0
        now = self._reactor.seconds()
        if state.unknown_since is None:
            state.unknown_since = now
            # Another judge may have published this verdict earlier, of a node that was lost earlier or later.
            if node.ready == "Unknown" and node.ready_since and _published(node) is Verdict.UNKNOWN:
                since = max(node.ready_since, _published_at(node))
                state.unknown_since -= max(0.0, self._wall() - since)
        return now - state.unknown_since

    def _count(self) -> None:
        assessments = [state.assessment for state in self._states.values() if state.assessment is not None]
        verdicts = Counter(each.verdict for each in assessments)
        outcomes = Counter(each.outcome for each in assessments)
        for verdict in Verdict:
            metrics.NODES.labels(verdict.value).set(verdicts[verdict])
        for outcome in Outcome:
            metrics.OUTCOMES.labels(outcome.value).set(outcomes[outcome])

    # -- what others ask

    def assessment(self, name: str) -> Assessment | None:
        """A node's assessment, None when it is in no checked unit."""
        state = self._states.get(name)
        return state.assessment if state is not None and name in self._units.by_node else None

    def node(self, name: str) -> NodeFacts | None:
        """Its Node object."""
        return self._nodes.get(name)

    def checks(self, name: str) -> bool:
        """Whether a node is in a checked unit; soon after the start it may have no assessment yet."""
        return name in self._units.by_node

    def nodes(self) -> Iterator[str]:
        """All nodes, checked or not."""
        return iter(list(self._nodes))

    def members(self, unit: str) -> list[str]:
        """The names of a unit's members."""
        return self._units.members(unit)

    def unit(self, name: str) -> Unit:
        """A node's unit as it is sent to the node; without members for a node that is not checked."""
        return self._units.unit(name)

    def status(self) -> list[dict[str, Any]]:
        """Units and nodes for the status page."""
        now = self.now()
        found = []
        for unit in self._units:
            nodes = []
            for name in self._units.members(unit):
                assessment, ballot = self.assessment(name), self.box.get(name, now)
                if assessment is None:
                    continue
                node = self._nodes[name]
                nodes.append(
                    {
                        "name": name,
                        "ready": node.ready,
                        "contact": assessment.contact.value,
                        "verdict": assessment.verdict.value,
                        "since": assessment.since,
                        "outcome": assessment.outcome.value,
                        "healthy": assessment.judgement.healthy,
                        "unhealthy": assessment.judgement.unhealthy,
                        "witnesses": assessment.judgement.witnesses,
                        "ballot": ballot.issued / 1000 if ballot is not None else None,
                    }
                )
            found.append({"unit": unit, "nodes": nodes})
        return found


def _published(node: NodeFacts) -> Verdict:
    """The verdict in the Node's condition."""
    verdicts = {"True": Verdict.ALIVE, "False": Verdict.DEAD}
    return Verdict.UNKNOWN if node.published is None else verdicts.get(node.published.status, Verdict.UNKNOWN)


def _published_at(node: NodeFacts) -> float:
    """When the verdict in the Node's condition changed, in seconds since 1970; 0 when it is not given."""
    return (read_time(node.published.since) or 0.0) if node.published is not None else 0.0
