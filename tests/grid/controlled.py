"""The controller on an API server in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.grid.cloud.children import MANAGER
from superedge.grid.cloud.controller import Controller
from superedge.grid.cloud.crds import crds
from superedge.kube.apply import APPLY_PATCH
from superedge.kube.client import MERGE_PATCH, IKubeClient
from superedge.kube.errors import APIError
from superedge.kube.events import EventRecorder
from superedge.kube.objects import WatchEvent
from superedge.testing.inprocess import InProcessAPI

START = 1_900_000_000.0
KEY = "example.com/site"
GRACE = 30.0
NAMESPACE = "shops"


def pods(image: str = "shop:1", **more: Any) -> dict[str, Any]:
    """A Deployment's spec."""
    return {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {"containers": [{"name": "main", "image": image}]},
        },
        **more,
    }


class Spy:
    """A client that notes writes and lets a test refuse them."""

    def __init__(self, clock: Clock, client: IKubeClient) -> None:
        self.clock = clock
        self.client = client
        self.writes: list[tuple[str, str]] = []
        self.refusals: dict[str, APIError] = {}
        self.lag = 0.0
        """Seconds by which watches of workloads are late."""
        self.before_write: Coroutine[Any, Any, object] | None = None
        """What somebody else does just before the next write of a workload."""

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> bytes:
        if method != "GET":
            self.writes.append((method, path))
            if "/apps/" in path and (meanwhile := self.before_write) is not None:
                self.before_write = None
                await meanwhile
            for part, refusal in self.refusals.items():
                if part in path:
                    raise refusal
        return await self.client.call(method, path, query, body, content_type)

    async def watch(
        self, path: str, query: Mapping[str, str], seconds: int, on_event: Callable[[WatchEvent], None]
    ) -> None:
        def late(event: WatchEvent) -> None:
            if self.lag and "/apps/" in path:
                self.clock.callLater(self.lag, on_event, event)
            else:
                on_event(event)

        await self.client.watch(path, query, seconds, late)


class ControlledCase(SynchronousTestCase):
    """Nodes n0, n1 of the site a, and n2 of b; `grid` makes a DeploymentGrid."""

    nodes: ClassVar[dict[str, str]] = {"n0": "a", "n1": "a", "n2": "b"}

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.api = InProcessAPI(self.clock)
        for definition in crds():
            self.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        for name, site in self.nodes.items():
            self.node(name, site)
        self.spy = Spy(self.clock, self.api.client())
        self.controller = self.controlled()

    def controlled(self) -> Controller:
        """A controller that runs."""
        events = EventRecorder(self.spy, MANAGER, "test", self.wall)
        made = Controller(self.clock, self.spy, events, GRACE, self.wall)
        made.startService()
        self.addCleanup(made.stopService)
        self.advance(1)
        return made

    def wall(self) -> float:
        return START + self.clock.seconds()

    def advance(self, seconds: float) -> None:
        step = 0.1 if seconds <= 5 else 1.0
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            for _ in range(6):
                self.clock.advance(0)

    def call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **query: str
    ) -> Any:
        done = Deferred.fromCoroutine(self.api.client().call(method, path, query, body, kind))
        for _ in range(4):
            self.clock.advance(0)
        return json.loads(self.successResultOf(done))

    # -- objects

    def node(self, name: str, site: str, **labels: str) -> None:
        """A Node, new or with another site; an empty one for none."""
        item = {"metadata": {"name": name, "labels": {**labels, **({KEY: site} if site else {})}}}
        there = [each["metadata"]["name"] for each in self.call("GET", "/api/v1/nodes")["items"]]
        if name not in there:
            self.call("POST", "/api/v1/nodes", item)
        else:
            patch = {"metadata": {"labels": {KEY: site or None, **labels}}}
            self.call("PATCH", f"/api/v1/nodes/{name}", patch, MERGE_PATCH)

    def path(self, plural: str, name: str = "", sub: str = "") -> str:
        group = {"deployments": "/apis/apps/v1", "statefulsets": "/apis/apps/v1", "services": "/api/v1"}
        root = group.get(plural, "/apis/superedge.io/v1" if "grids" in plural else "/api/v1")
        return "/".join(part for part in (root, "namespaces", NAMESPACE, plural, name, sub) if part)

    def grid(self, plural: str = "deploymentgrids", name: str = "shop", **spec: Any) -> None:
        """Make or replace a grid, then let the controller work."""
        kinds = {
            "deploymentgrids": "DeploymentGrid", "statefulsetgrids": "StatefulSetGrid",
            "servicegrids": "ServiceGrid",
        }  # fmt: skip
        item = {
            "apiVersion": "superedge.io/v1",
            "kind": kinds[plural],
            "metadata": {"name": name},
            "spec": {"gridUniqKey": KEY, "template": pods(), **spec},
        }
        query = {"fieldManager": "kubectl", "force": "true"}
        self.call("PATCH", self.path(plural, name), item, APPLY_PATCH, **query)
        self.advance(2)

    def status(self, plural: str = "deploymentgrids", name: str = "shop") -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", self.path(plural, name))["status"]
        return found

    def condition(self, kind: str, plural: str = "deploymentgrids", name: str = "shop") -> dict[str, Any]:
        found: dict[str, Any] = next(
            each for each in self.status(plural, name)["conditions"] if each["type"] == kind
        )
        return found

    def children(self, plural: str = "deployments") -> dict[str, dict[str, Any]]:
        items = self.call("GET", self.path(plural))["items"]
        return {item["metadata"]["name"]: item for item in items}

    def child(self, name: str, plural: str = "deployments") -> dict[str, Any]:
        return self.children(plural)[name]

    def image(self, name: str) -> str:
        found: str = self.child(name)["spec"]["template"]["spec"]["containers"][0]["image"]
        return found

    def patch_child(self, name: str, patch: Any, manager: str, plural: str = "deployments") -> None:
        """A change by somebody else."""
        self.call("PATCH", self.path(plural, name), patch, MERGE_PATCH, fieldManager=manager)
        self.advance(1)

    def roll_out(
        self, *names: str, plural: str = "deployments", ready: bool = True, seconds: float = 2
    ) -> None:
        """What the cluster's own controllers say of a workload."""
        for name in names:
            item = self.child(name, plural)
            wanted = item["spec"].get("replicas", 1)
            status = {
                "observedGeneration": item["metadata"]["generation"], "replicas": wanted,
                "updatedReplicas": wanted, "readyReplicas": wanted * ready,
                "availableReplicas": wanted * ready,
            }  # fmt: skip
            self.call("PATCH", self.path(plural, name, "status"), {"status": status}, MERGE_PATCH)
        self.advance(seconds)

    def written(self, part: str) -> list[tuple[str, str]]:
        """Writes since the last question to paths that contain a text."""
        found = [each for each in self.spy.writes if part in each[1]]
        self.spy.writes.clear()
        return found
