"""Proves that the enforcement works, by dry runs of the node lifecycle controller's requests.

The node's entry for the proof expired in 1971 and keeps nothing. A dry run with a taint or a condition from
1970 is earlier than that, so that the rule must change it; one from 1972 is later and must stay as it is.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from superedge.errors import SuperEdgeError
from superedge.health.cloud.admission.serving import CONFIGURATION, WEBHOOKS
from superedge.health.cloud.cluster import NO_EXECUTE, UNREACHABLE, Taint, read_node
from superedge.health.cloud.keeping import KeptNodes
from superedge.health.cloud.mending import PODS, STRATEGIC_PATCH
from superedge.kube.client import MERGE_PATCH, NODES, IKubeClient, Resource
from superedge.kube.errors import APIError
from superedge.kube.json import decode

Enforcement = Literal["policy", "webhook"]

_ADMISSION = "admissionregistration.k8s.io"
_POLICIES = ("superedge-keep-nodes", "superedge-keep-pods")
RULES: dict[Enforcement, list[str]] = {
    "policy": [
        Resource(_ADMISSION, "v1", plural).path(name=name)
        for plural in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
        for name in _POLICIES
    ],
    "webhook": [WEBHOOKS.path(name=CONFIGURATION)],
}
"""Paths of the objects that an enforcement consists of."""
LONG_AGO = "1970-06-01T00:00:00Z"
ENDED = 365 * 86400.0
"""Seconds since 1970: when the entry for the proof ended."""
LATER = "1972-01-01T00:00:00Z"
TRIES = 10
PAUSE = 1.0
"""Seconds between two tries: an entry may take PAUSE times TRIES to reach every API server."""
PAGE = "500"
"""Pods in a page of the list in which a ready one is sought."""


class Unproven(SuperEdgeError):
    """The enforcement does not work, or there is no pod to prove it on."""


class _Condition(msgspec.Struct):
    type: str
    status: str = ""


class _Status(msgspec.Struct):
    conditions: list[_Condition] = []


class _Spec(msgspec.Struct):
    nodeName: str = ""


class _Metadata(msgspec.Struct):
    name: str
    namespace: str = ""
    deletionTimestamp: str | None = None


class _Pod(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def ready(self) -> str:
        return next((each.status for each in self.status.conditions if each.type == "Ready"), "")


class _ListMetadata(msgspec.Struct):
    token: str = msgspec.field(default="", name="continue")


class _Pods(msgspec.Struct):
    items: list[_Pod] = []
    metadata: _ListMetadata = msgspec.field(default_factory=_ListMetadata)


class _RuleMetadata(msgspec.Struct):
    uid: str
    generation: int = 0


class _Rule(msgspec.Struct):
    metadata: _RuleMetadata


class Proof:
    """Proves the enforcement on a node and one of its pods."""

    def __init__(
        self, reactor: IReactorTime, client: IKubeClient, kept: KeptNodes, enforcement: Enforcement
    ) -> None:
        self._reactor = reactor
        self._client = client
        self._kept = kept
        self._enforcement = enforcement

    async def rules(self) -> list[tuple[str, int]]:
        """UID and generation of each of the enforcement's objects. Raises what the client raises."""
        found = []
        for path in RULES[self._enforcement]:
            try:
                metadata = decode(_Rule, await self._client.call("GET", path)).metadata
            except APIError as problem:
                if problem.code != 404:
                    raise
                found.append(("", 0))
            else:
                found.append((metadata.uid, metadata.generation))
        return found

    async def run(self) -> None:
        """Return if it works. Raises Unproven, and what the client raises."""
        pod = await self._find()
        node = pod.spec.nodeName
        await self._kept.prove(node, ENDED)
        try:
            for left in range(TRIES, 0, -1):
                fault = await self._fault(node, pod)
                if fault is None:
                    return
                if left > 1:
                    await deferLater(self._reactor, PAUSE)
            raise Unproven(fault or "")
        finally:
            self._kept.proven(node)

    async def _find(self) -> _Pod:
        """A pod that is ready, on a node that has neither lost the cloud nor an entry."""
        query = {"fieldSelector": "status.phase=Running", "limit": PAGE}
        usable: dict[str, bool] = {}
        while True:
            page: _Pods = decode(_Pods, await self._client.call("GET", PODS.path(), query))
            for pod in page.items:
                node = pod.spec.nodeName
                if pod.ready != "True" or not node or pod.metadata.deletionTimestamp is not None:
                    continue
                if node not in usable:
                    usable[node] = await self._usable(node)
                if usable[node]:
                    return pod
            if not page.metadata.token:
                raise Unproven("there is no ready pod on a ready node to prove it on")
            query["continue"] = page.metadata.token

    async def _usable(self, node: str) -> bool:
        try:
            facts = read_node(await self._client.call("GET", NODES.path(name=node)))
        except APIError as problem:
            if problem.code == 404:  # its pods outlast it for a while
                return False
            raise
        return facts.ready == "True" and not facts.has_taint(UNREACHABLE) and not self._kept.has(node)

    async def _fault(self, node: str, pod: _Pod) -> str | None:
        """What does not work, or None."""
        try:
            return await self._try(node, pod)
        except APIError as problem:
            if problem.code in (404, 409):  # the node or the pod changed in the meantime
                return f"it could not be proven: {problem}"
            raise

    async def _try(self, node: str, pod: _Pod) -> str | None:
        if await self._taint_stays(node, LONG_AGO):
            return f"the taint {UNREACHABLE}:{NO_EXECUTE} is not removed from a kept node"
        if not await self._taint_stays(node, LATER) and not self._kept.has(node):
            return f"the taint {UNREACHABLE}:{NO_EXECUTE} is removed from a node whose entry expired"
        if await self._unready_stays(pod, LONG_AGO):
            return "pods of a kept node do not stay ready"
        if not await self._unready_stays(pod, LATER) and not self._kept.has(node):
            return "pods of a node whose entry expired stay ready"
        return None

    async def _taint_stays(self, node: str, added: str) -> bool:
        path = NODES.path(name=node)
        facts = read_node(await self._client.call("GET", path))
        taints = [*facts.taints, Taint(UNREACHABLE, NO_EXECUTE, timeAdded=added)]
        patch = {"metadata": {"resourceVersion": facts.version}, "spec": {"taints": taints}}
        answer = await self._client.call("PATCH", path, {"dryRun": "All"}, patch, MERGE_PATCH)
        return read_node(answer).has_taint(UNREACHABLE)

    async def _unready_stays(self, pod: _Pod, since: str) -> bool:
        ready: dict[str, Any] = {"type": "Ready", "status": "False", "lastTransitionTime": since}
        path = f"{PODS.path(pod.metadata.namespace, pod.metadata.name)}/status"
        patch = {"status": {"conditions": [ready]}}
        answer = await self._client.call("PATCH", path, {"dryRun": "All"}, patch, STRATEGIC_PATCH)
        return bool(decode(_Pod, answer).ready == "False")
