"""Writes each node's verdict into its Node object, when it changes.

The verdict is a condition. A dead node also gets an annotation, and a taint that evicts its pods.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any, Literal

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.health import metrics
from superedge.health.cloud.assessment import Assessment
from superedge.health.cloud.cluster import (
    CONDITION,
    DEAD,
    NO_EXECUTE,
    UNHEALTHY,
    UNREACHABLE,
    NodeFacts,
    Taint,
    read_node,
)
from superedge.health.cloud.judge import Judge
from superedge.health.votes.decisions import Outcome
from superedge.health.votes.verdicts import Verdict
from superedge.kube.apply import apply
from superedge.kube.client import MERGE_PATCH, NODES, IKubeClient, Problems
from superedge.kube.errors import APIError
from superedge.kube.events import EventRecorder, Reference
from superedge.kube.times import kube_time
from superedge.kube.workqueue import WorkQueue

MANAGER = "superedge-health"
RETRY = 10.0
"""Maximum seconds between two attempts to write: the pods of a dead node wait for it."""
LAG = 5.0
"""Seconds in which the watch may not show an own write yet."""
STATUS = {Verdict.ALIVE: "True", Verdict.DEAD: "False", Verdict.UNKNOWN: "Unknown"}
REASON = {
    Verdict.ALIVE: "PeersReachIt",
    Verdict.DEAD: "PeersDoNotReachIt",
    Verdict.UNKNOWN: "PeersCannotTell",
}

Failover = Literal["fast", "native"]

_log = Logger()


class VerdictPublisher:
    """Reconciles Node objects with the judge's assessments; ``queue`` is started and stopped by the owner."""

    def __init__(
        self,
        reactor: IReactorTime,
        client: IKubeClient,
        judge: Judge,
        events: EventRecorder,
        failover: Failover,
        wall: Callable[[], float] = time,
    ) -> None:
        self._reactor = reactor
        self._client = client
        self._judge = judge
        self._events = events
        self._failover = failover
        self._wall = wall
        self._written: dict[str, tuple[str | None, float]] = {}
        self.queue: WorkQueue[str] = WorkQueue(reactor, self._reconcile, maximum=RETRY)

    async def _reconcile(self, name: str) -> None:
        node, assessment = self._judge.node(name), self._judge.assessment(name)
        if node is None:
            self._written.pop(name, None)
            return
        if assessment is None and self._judge.checks(name):
            return
        try:
            await self._mark(node, assessment)
        finally:
            await self._say(node, assessment)

    # -- taint and annotation

    async def _mark(self, node: NodeFacts, assessment: Assessment | None) -> None:
        wanted = self._taints(node, assessment)
        dead = assessment is not None and assessment.verdict is Verdict.DEAD
        patch: dict[str, Any] = {"metadata": {"resourceVersion": node.version}}
        if wanted != node.taints:
            patch["spec"] = {"taints": list(wanted)}
        if dead is not node.marked:
            patch["metadata"]["annotations"] = {UNHEALTHY: "yes" if dead else None}
        if len(patch) == 1 and len(patch["metadata"]) == 1:
            return
        answer = await self._patch(node, patch)
        if answer is None:
            return
        if wanted != node.taints:
            evicts = len(wanted) > len(node.taints)
            _log.info(
                "{node}: {what}",
                node=node.name,
                what="tainted, its pods are evicted" if evicts else "taint removed",
            )
            if evicts:
                self._event(
                    node,
                    "Warning",
                    "EdgeNodeDead",
                    "its pods are evicted: neither its peers nor the cloud reach it",
                )
        self._judge.node_changed(node.name, read_node(answer))

    async def _patch(self, node: NodeFacts, patch: dict[str, Any]) -> bytes | None:
        path = NODES.path(name=node.name)
        try:
            answer = await self._client.call("PATCH", path, body=patch, content_type=MERGE_PATCH)
        except APIError as problem:
            if problem.code == 404:
                return None
            if problem.code == 409:
                # The Node has changed since it was read.
                self._judge.node_changed(node.name, read_node(await self._client.call("GET", path)))
            metrics.WRITES.labels("node", "failed").inc()
            raise
        except Problems:
            metrics.WRITES.labels("node", "failed").inc()
            raise
        metrics.WRITES.labels("node", "done").inc()
        return answer

    def _taints(self, node: NodeFacts, assessment: Assessment | None) -> tuple[Taint, ...]:
        evict = assessment is not None and assessment.outcome is Outcome.EVICT
        fast, native = evict and self._failover == "fast", evict and self._failover == "native"
        kept = tuple(each for each in node.taints if each.key != DEAD)
        now = kube_time(self._wall())
        if fast:
            known = next(
                (each for each in node.taints if (each.key, each.effect) == (DEAD, NO_EXECUTE)), None
            )
            kept += (known or Taint(DEAD, NO_EXECUTE, timeAdded=now),)
        # The node lifecycle controller removes this taint from a node that is Ready.
        if native and node.ready == "Unknown" and not node.has_taint(UNREACHABLE):
            kept += (Taint(UNREACHABLE, NO_EXECUTE, timeAdded=now),)
        return kept if set(kept) != set(node.taints) else node.taints

    # -- condition

    async def _say(self, node: NodeFacts, assessment: Assessment | None) -> None:
        wanted = None if assessment is None else STATUS[assessment.verdict]
        published = None if node.published is None else node.published.status
        if wanted == published:
            self._written.pop(node.name, None)
            return
        now = self._reactor.seconds()
        written = self._written.get(node.name)
        if written is not None and written[0] == wanted and now - written[1] < LAG:
            self.queue.add_after(node.name, LAG)
            return
        conditions = [] if assessment is None else [_condition(assessment)]
        item = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node.name},
            "status": {"conditions": conditions},
        }
        try:
            await apply(self._client, f"{NODES.path(name=node.name)}/status", item, MANAGER)
        except Problems:
            metrics.WRITES.labels("status", "failed").inc()
            raise
        metrics.WRITES.labels("status", "done").inc()
        self._written[node.name] = wanted, now
        if assessment is not None:
            bad = assessment.verdict is not Verdict.ALIVE
            if assessment.verdict is Verdict.DEAD or published is not None:
                kind: Literal["Normal", "Warning"] = "Warning" if bad else "Normal"
                self._event(node, kind, REASON[assessment.verdict], assessment.judgement.reason)
            _log.info(
                "verdict on {node}: {verdict}: {reason}",
                node=node.name,
                verdict=assessment.verdict.value,
                reason=assessment.judgement.reason,
            )

    def _event(self, node: NodeFacts, kind: Literal["Normal", "Warning"], reason: str, note: str) -> None:
        self._events.record(Reference("v1", "Node", node.name), kind, reason, note)


def _condition(assessment: Assessment) -> dict[str, str]:
    since = kube_time(assessment.since)
    return {
        "type": CONDITION,
        "status": STATUS[assessment.verdict],
        "reason": REASON[assessment.verdict],
        "message": assessment.judgement.reason[:1000],
        "lastTransitionTime": since,
        "lastHeartbeatTime": since,
    }
