"""On which pod the enforcement is proven."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.health.cloud.admission.proof import Proof, Unproven
from superedge.health.cloud.keeping import KeptNodes


class _Cluster:
    """Pages of pods, each NAME on NODE; only the node ``good`` is ready."""

    def __init__(self, *pages: dict[str, str]) -> None:
        self.pages = pages
        self.reads: list[str] = []

    async def call(self, method: str, path: str, query: Mapping[str, str] | None = None) -> bytes:
        if path != "/api/v1/pods":
            name = path.rpartition("/")[2]
            self.reads.append(name)
            ready = {"type": "Ready", "status": "True" if name == "good" else "Unknown"}
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
        proof = Proof(clock, cast(Any, cluster), KeptNodes(clock, cast(Any, cluster), "superedge"), "policy")
        return Deferred.fromCoroutine(proof._find())

    def test_a_ready_pod_behind_many_on_nodes_that_are_lost(self) -> None:
        cluster = _Cluster({"a": "lost-1", "b": "lost-2", "c": "lost-1"}, {"d": "lost-1", "e": "good"})
        self.assertEqual(self.successResultOf(self.find(cluster)).metadata.name, "e")
        self.assertEqual(cluster.reads, ["lost-1", "lost-2", "good"])

    def test_none(self) -> None:
        self.failureResultOf(self.find(_Cluster({"a": "lost-1"}, {})), Unproven)
