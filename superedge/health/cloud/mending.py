"""Reverts what the node lifecycle controller did to a kept node before its entry was written.

The controller adds a taint and sets the Ready condition of pods to False. An entry prevents both as long as
the enforcement works, so that there is usually nothing to revert afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.health import metrics
from superedge.health.cloud.cluster import NO_EXECUTE, UNREACHABLE, NodeFacts, read_node
from superedge.health.cloud.judge import Judge
from superedge.health.votes.decisions import Outcome
from superedge.kube.client import MERGE_PATCH, NODES, IKubeClient, Problems, Resource
from superedge.kube.errors import APIError
from superedge.kube.json import decode
from superedge.kube.times import kube_time
from superedge.kube.workqueue import WorkQueue

PODS = Resource("", "v1", "pods")
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
AGAIN = (5.0, 15.0, 60.0)
"""Seconds after which a node's pods are checked again, the last for as long as it is kept: the controller may
not have finished, and a new one sets all pods of lost nodes to not ready."""
PACE = 5.0
"""Seconds between two attempts to remove the taint, and at most between any two: tolerations may be short."""

_log = Logger()


class _Condition(msgspec.Struct, frozen=True):
    type: str
    status: str = ""


class _Gate(msgspec.Struct, frozen=True):
    conditionType: str


class _PodSpec(msgspec.Struct, frozen=True):
    readinessGates: list[_Gate] = []


class _PodStatus(msgspec.Struct, frozen=True):
    phase: str = ""
    conditions: list[_Condition] = []


class _PodMetadata(msgspec.Struct, frozen=True):
    name: str
    namespace: str
    uid: str = ""
    deletionTimestamp: str | None = None


class Pod(msgspec.Struct, frozen=True):
    """What is used of a pod."""

    metadata: _PodMetadata
    spec: _PodSpec = _PodSpec()
    status: _PodStatus = _PodStatus()

    @property
    def marked_by_cluster(self) -> bool:
        """Whether it is not Ready although its containers and gates are: no kubelet reports that."""
        said = {each.type: each.status for each in self.status.conditions}
        gates = all(said.get(gate.conditionType) == "True" for gate in self.spec.readinessGates)
        running = self.status.phase == "Running" and self.metadata.deletionTimestamp is None
        return running and gates and said.get("ContainersReady") == "True" and said.get("Ready") == "False"


class _Pods(msgspec.Struct):
    items: list[Pod] = []


class Mender:
    """Reverts the changes of the nodes in ``queue``, which the owner starts and stops."""

    def __init__(
        self,
        reactor: IReactorTime,
        client: IKubeClient,
        judge: Judge,
        in_force: Callable[[str], bool],
        wall: Callable[[], float],
    ) -> None:
        """``in_force``: whether a node's entry exists and the enforcement works."""
        self._reactor = reactor
        self._client = client
        self._judge = judge
        self._in_force = in_force
        self._wall = wall
        self._rounds: dict[str, int] = {}
        self._tried: dict[str, float] = {}
        self.doubtful = False
        """Whether a taint came back in spite of the entry, so that the enforcement must be proven again."""
        self.queue: WorkQueue[str] = WorkQueue(reactor, self._mend, workers=4, maximum=PACE)

    def consider(self, name: str) -> None:
        """Check a node after it or its assessment changed."""
        node, assessment = self._judge.node(name), self._judge.assessment(name)
        kept = assessment is not None and assessment.outcome is Outcome.KEEP
        if node is None or not kept or node.ready != "Unknown":
            self._rounds.pop(name, None)
            self._tried.pop(name, None)
        elif name not in self._rounds or node.has_taint(UNREACHABLE):
            self.queue.add_after(name, 0.2)

    async def _mend(self, name: str) -> None:
        node, assessment = self._judge.node(name), self._judge.assessment(name)
        if (
            node is None
            or assessment is None
            or assessment.outcome is not Outcome.KEEP
            or node.ready != "Unknown"
        ):
            return
        if not self._in_force(name):
            self.queue.add_after(name, 1.0)
            return
        if node.has_taint(UNREACHABLE):
            waited = self._reactor.seconds() - self._tried.get(name, float("-inf"))
            if waited < PACE:
                self.queue.add_after(name, PACE - waited)
                return
            self.doubtful = self.doubtful or name in self._tried
            await self._untaint(node)
            self._tried[name] = self._reactor.seconds()
            self._rounds.pop(name, None)
        done = self._rounds.get(name, 0)
        await self._ready(name)
        self._rounds[name] = done + 1
        self.queue.add_after(name, AGAIN[min(done, len(AGAIN) - 1)])

    async def _untaint(self, node: NodeFacts) -> None:
        left = [each for each in node.taints if (each.key, each.effect) != (UNREACHABLE, NO_EXECUTE)]
        patch = {"metadata": {"resourceVersion": node.version}, "spec": {"taints": left}}
        path = NODES.path(name=node.name)
        try:
            answer = await self._client.call("PATCH", path, body=patch, content_type=MERGE_PATCH)
        except APIError as problem:
            if problem.code == 409:
                self._judge.node_changed(node.name, read_node(await self._client.call("GET", path)))
            raise
        metrics.WRITES.labels("mend", "done").inc()
        _log.info(
            "{node} is kept: removed its taint node.kubernetes.io/unreachable:NoExecute", node=node.name
        )
        self._judge.node_changed(node.name, read_node(answer))

    async def _ready(self, name: str) -> None:
        # From the API server's cache, where pods are found by node: etcd would have to be read as a whole.
        query = {"fieldSelector": f"spec.nodeName={name}", "resourceVersion": "0"}
        pods = decode(_Pods, await self._client.call("GET", PODS.path(), query)).items
        refused = None
        for pod in pods:
            if pod.marked_by_cluster:
                try:
                    await self._put_back(name, pod)
                except Problems as problem:
                    refused = problem
        if refused is not None:
            raise refused

    async def _put_back(self, name: str, pod: Pod) -> None:
        ready: dict[str, Any] = {
            "type": "Ready",
            "status": "True",
            "lastTransitionTime": kube_time(self._wall()),
        }
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [ready]}}
        path = f"{PODS.path(pod.metadata.namespace, pod.metadata.name)}/status"
        try:
            await self._client.call("PATCH", path, body=patch, content_type=STRATEGIC_PATCH)
        except APIError as problem:
            if problem.code not in (404, 409):
                raise
            return
        metrics.WRITES.labels("mend", "done").inc()
        _log.info("set pod {pod} on kept node {node} to Ready again", pod=pod.metadata.name, node=name)
