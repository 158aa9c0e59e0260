"""On which pod the enforcement is proven."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.health.cloud.admission.proof import Proof, Unproven
from superedge.health.cloud.keeping import KeptNodes
from superedge.health.cloud.mending import PODS
from superedge.kube.errors import APIError


class _Cluster:
    """Pages of pods, each NAME on NODE. Nodes are ready but those ``lost``; ``gone`` is no more."""

    def __init__(self, *pages: dict[str, str]) -> None:
        self.pages = pages
        self.reads: list[str] = []

    async def call(self, method: str, path: str, query: Mapping[str, str] | None = None) -> bytes:
        if path != "/api/v1/pods":
            name = path.rpartition("/")[2]
            self.reads.append(name)
            if name == "gone":
                raise APIError(404, "NotFound", 'nodes "gone" not found')
            ready = {"type": "Ready", "status": "Unknown" if name.startswith("lost") else "True"}
            return json.dumps({"metadata": {"name": name}, "status": {"conditions": [ready]}}).encode()
        number = int((query or {}).get("continue", "0"))
        pods = [
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"nodeName": node},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            }
            for name, node in self.pages[number].items()
        ]
        more = {"continue": str(number + 1)} if number + 1 < len(self.pages) else {}
        return json.dumps({"items": pods, "metadata": more}).encode()


class FindTests(SynchronousTestCase):
    def find(self, cluster: _Cluster) -> Deferred[Any]:
        clock = cast(Any, Clock())
        kept = KeptNodes(clock, cast(Any, cluster), "superedge", lambda: 0.0)
        kept.keep("cut", True)
        kept.observed({"old": "1970-01-01T00:01:00Z", "good": "1969-01-01T00:01:00Z"})
        proof = Proof(clock, cast(Any, cluster), kept, "policy")
        return Deferred.fromCoroutine(proof._find())

    def test_a_ready_pod_behind_many_on_nodes_that_are_lost(self) -> None:
        cluster = _Cluster({"a": "lost-1", "b": "lost-2", "c": "lost-1"}, {"d": "lost-1", "e": "good"})
        self.assertEqual(self.successResultOf(self.find(cluster)).metadata.name, "e")
        self.assertEqual(cluster.reads, ["lost-1", "lost-2", "good"])

    def test_a_pod_of_a_deleted_node_is_not_chosen(self) -> None:
        cluster = _Cluster({"a": "gone", "b": "good"})
        self.assertEqual(self.successResultOf(self.find(cluster)).metadata.name, "b")

    def test_a_node_with_an_entry_is_not_chosen(self) -> None:
        cluster = _Cluster({"a": "cut", "b": "old", "c": "good"})
        self.assertEqual(self.successResultOf(self.find(cluster)).metadata.name, "c")

    def test_none(self) -> None:
        self.failureResultOf(self.find(_Cluster({"a": "lost-1"}, {})), Unproven)


class _Enforcing:
    """A cluster whose enforcement works; ``refused`` are the answers to the first PATCHes."""

    def __init__(self, *refused: APIError) -> None:
        self.refused = list(refused)
        self.entries: dict[str, str] = {}
        self.patched: Callable[[], object] = lambda: None

    async def call(
        self, method: str, path: str, query: object = None, body: Any = None, content_type: str = ""
    ) -> bytes:
        kind = path.split("/")[-2]
        if kind == "configmaps":
            if body is not None:
                data = {**self.entries, **body["data"]}
                self.entries = {name: until for name, until in data.items() if until is not None}
            return json.dumps({"metadata": {}, "data": self.entries}).encode()
        ready = {"type": "Ready", "status": "True"}
        item: dict[str, Any] = {"metadata": {"name": "good"}, "status": {"conditions": [ready]}}
        if method == "PATCH":
            self.patched()
            if self.refused:
                raise self.refused.pop(0)
            if kind == "nodes" and body["spec"]["taints"][0].timeAdded > self.entries["good"]:
                item["spec"] = body["spec"]
            elif (
                kind == "pod" and body["status"]["conditions"][0]["lastTransitionTime"] > self.entries["good"]
            ):
                item["status"] = body["status"]
        elif path == PODS.path():
            item = {
                "metadata": {"name": "pod", "namespace": "default"},
                "spec": {"nodeName": "good"},
                "status": item["status"],
            }
            item = {"items": [item]}
        return msgspec.json.encode(item)


class RunTests(SynchronousTestCase):
    def run_proof(self, cluster: _Enforcing, cut: bool = False) -> Deferred[None]:
        """``cut``: during the proof its node is to be kept."""
        clock = Clock()
        kept = KeptNodes(cast(Any, clock), cast(Any, cluster), "superedge")
        if cut:
            cluster.patched = lambda: kept.keep("good", True)
        kept.queue.startService()
        self.addCleanup(kept.queue.stopService)
        proof = Proof(cast(Any, clock), cast(Any, cluster), kept, "policy")
        done = Deferred.fromCoroutine(proof.run())
        clock.pump([0.5] * 30)
        return done

    def test_what_changes_in_the_meantime_is_tried_again(self) -> None:
        for code in (404, 409):
            cluster = _Enforcing(*[APIError(code, "Conflict", "the object has been modified")] * 3)
            self.successResultOf(self.run_proof(cluster))
            self.assertEqual(cluster.entries, {}, "the entry of the proof is left")

    def test_a_node_that_is_to_be_kept_meanwhile(self) -> None:
        cluster = _Enforcing(APIError(409, "Conflict", "the object has been modified"))
        self.successResultOf(self.run_proof(cluster, cut=True))
        self.assertEqual(list(cluster.entries), ["good"])

    def test_a_refusal_is_its_result(self) -> None:
        cluster = _Enforcing(APIError(403, "Forbidden", "pods is forbidden"))
        self.failureResultOf(self.run_proof(cluster), APIError)
        self.assertEqual(cluster.entries, {})
