"""A cluster in memory that is judged, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.health import EdgeAdmissionConfig
from superedge.errors import SuperEdgeError
from superedge.health.cloud import mending
from superedge.health.cloud.admission.proof import Unproven
from superedge.health.cloud.cluster import CONDITION
from superedge.health.cloud.judging import Judging
from superedge.health.votes.ballot import Opinion
from superedge.health.votes.signing import Verifier
from superedge.interfaces import IReactor
from superedge.kube.errors import Unavailable
from superedge.kube.times import kube_time, micro_time
from superedge.testing.inprocess import InProcessAPI
from tests.health.simulation import _Trusting, _Unsigned
from tests.health.voters import ballot

START = 1_900_000_000.0
YES, NO = Opinion.HEALTHY, Opinion.UNHEALTHY


class Streams:
    """Sessions of nodes without edge health."""

    def __init__(self) -> None:
        self.nodes: dict[str, int] = {}

    def sessions(self) -> Mapping[str, int]:
        return self.nodes

    async def open(self, node: str, kind: str, timeout: float) -> None:
        raise SuperEdgeError("it serves no such stream")

    def on_change(self, callback: Callable[[], None]) -> None:
        """Nothing changes."""


class Refusing:
    """A client some of whose requests fail: ``fault`` returns why, None for those that do not.

    ``late`` returns the seconds between a request's effect and its answer.
    """

    def __init__(self, api: InProcessAPI) -> None:
        self._clock = api.reactor
        self._client = api.client()
        self.watch = self._client.watch
        self.fault: Callable[[str, str], Exception | None] = lambda method, path: None
        self.late: Callable[[str, str], float] = lambda method, path: 0.0
        self.seconds = 0.0
        """After how long they fail."""

    async def call(self, method: str, path: str, *arguments: Any, **more: Any) -> bytes:
        problem = self.fault(method, path)
        if problem is not None:
            await deferLater(self._clock, self.seconds)
            raise problem
        answer = await self._client.call(method, path, *arguments, **more)
        if late := self.late(method, path):
            await deferLater(self._clock, late)
        return answer


class Case(SynchronousTestCase):
    failover = "fast"
    more: dict[str, Any] = {}

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.streams = Streams()
        self.sequence = 0
        self.step = 0.0
        """Seconds by which the clock of the cloud end is ahead of that of the API server."""
        self.api = InProcessAPI(self.clock)
        self.client = Refusing(self.api)
        for name in ("superedge", "kube-node-lease", "default"):
            self.call("POST", "/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": name}})
        for number in range(4):
            self.add_node(f"n{number}")
        self.proofs = 0
        self.broken = ""
        self.rules = [("uid", 1)]
        self.begin()
        self.renew("n0", "n1", "n2", "n3")
        self.advance(1)

    def begin(self) -> None:
        """A new judge."""
        config = EdgeAdmissionConfig(
            ca=[Path("ca")], unit_label="unit", failover=cast(Any, self.failover), **self.more
        )
        self.judging = Judging(
            cast(IReactor, self.clock),
            config,
            "policy",
            self.client,
            "superedge",
            self.streams,
            cast(Verifier, _Trusting()),
            self.wall,
        )
        self.judging._proof.run = self.proven  # type: ignore[method-assign]
        self.judging._proof.rules = self.read_rules  # type: ignore[method-assign]
        self.judging.startService()

    async def proven(self) -> None:
        """Nothing to prove: the enforcement is taken to work unless ``broken`` says why not."""
        self.proofs += 1
        if self.broken:
            raise Unproven(self.broken)

    async def read_rules(self) -> list[tuple[str, int]]:
        if not self.rules:
            raise Unavailable("the API server is away")
        return list(self.rules)

    def end(self) -> None:
        """The judge steps down."""
        self.successResultOf(Deferred.fromCoroutine(self.judging.stopService()))
        self.advance(1)

    def tearDown(self) -> None:
        self.end()

    def wall(self) -> float:
        return self.clock.seconds() + self.step

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)

    def call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **query: str
    ) -> Any:
        client = self.api.client()
        done = Deferred.fromCoroutine(client.call(method, path, query, body, kind))
        for _ in range(4):
            self.clock.advance(0)
        return json.loads(self.successResultOf(done))

    def add_node(self, name: str) -> None:
        node = {
            "kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "labels": {"unit": "shop"}},
        }  # fmt: skip
        self.call("POST", "/api/v1/nodes", node)
        self.ready(name, "True")

    def ready(self, name: str, status: str) -> None:
        condition = {"type": "Ready", "status": status, "lastTransitionTime": kube_time(self.wall())}
        self.call(
            "PATCH",
            f"/api/v1/nodes/{name}/status",
            {"status": {"conditions": [condition]}},
            mending.STRATEGIC_PATCH,
        )

    def renew(self, *names: str, duration: int = 40) -> None:
        for name in names:
            lease = {
                "kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": name},
                "spec": {"renewTime": micro_time(self.wall()), "leaseDurationSeconds": duration},
            }  # fmt: skip
            self.call(
                "PATCH",
                f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}",
                lease,
                "application/apply-patch+yaml",
                fieldManager="kubelet",
                force="true",
            )

    def vote(self, **said: dict[str, Opinion]) -> None:
        self.sequence += 1
        for voter, rows in said.items():
            item = ballot(voter, rows, issued=int((self.wall() - self.step) * 1000), sequence=self.sequence)
            self.judging.judge.ballot(cast(Any, _Unsigned(voter)).sign(item))

    def everybody_says(self, peer: str, opinion: Opinion) -> None:
        names = [f"n{number}" for number in range(4)]
        self.vote(
            **{
                voter: {name: opinion if name == peer else YES for name in names if name != voter}
                for voter in names
                if voter != peer
            }
        )

    def node(self, name: str) -> Any:
        return self.call("GET", f"/api/v1/nodes/{name}")

    def condition(self, name: str) -> str:
        conditions = self.node(name)["status"].get("conditions", [])
        return next((each["status"] for each in conditions if each["type"] == CONDITION), "")

    def taints(self, name: str) -> set[str]:
        return {f"{each['key']}:{each['effect']}" for each in self.node(name)["spec"].get("taints", [])}

    def kept(self) -> dict[str, str]:
        data = self.call("GET", "/api/v1/namespaces/superedge/configmaps/superedge-kept-nodes").get("data")
        return dict(data or {})

    def events(self) -> list[str]:
        items = self.call("GET", "/api/v1/namespaces/default/events")["items"]
        return [f"{each['involvedObject']['name']} {each['reason']}" for each in items]

    def writes(self) -> int:
        return sum(self.api.writes.values())
