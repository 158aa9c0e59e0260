"""The judging replica on an API server in this process: what it writes, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.health import EdgeAdmissionConfig
from superedge.errors import SuperEdgeError
from superedge.health.cloud import judge, mending
from superedge.health.cloud.admission.proof import Unproven
from superedge.health.cloud.cluster import CONDITION, Scope, read_duration, read_node, read_scope
from superedge.health.cloud.judging import Judging
from superedge.health.votes.ballot import Opinion
from superedge.health.votes.decisions import Contact
from superedge.health.votes.signing import Verifier
from superedge.interfaces import IReactor
from superedge.kube.errors import APIError, DecodeError, Unavailable
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
    """A client some of whose requests fail: ``fault`` returns why, None for those that do not."""

    def __init__(self, api: InProcessAPI) -> None:
        self._clock = api.reactor
        self._client = api.client()
        self.watch = self._client.watch
        self.fault: Callable[[str, str], Exception | None] = lambda method, path: None
        self.seconds = 0.0
        """After how long they fail."""

    async def call(self, method: str, path: str, *arguments: Any, **more: Any) -> bytes:
        problem = self.fault(method, path)
        if problem is not None:
            await deferLater(self._clock, self.seconds)
            raise problem
        return await self._client.call(method, path, *arguments, **more)


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

    def renew(self, *names: str) -> None:
        for name in names:
            lease = {
                "kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": name},
                "spec": {"renewTime": micro_time(self.wall()), "leaseDurationSeconds": 40},
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


class PublishingTests(Case):
    def test_the_verdict_is_a_condition_written_on_change_alone(self) -> None:
        for _ in range(3):
            self.everybody_says("n1", YES)
            self.renew("n0", "n1", "n2", "n3")
            self.advance(5)
        self.assertEqual({self.condition(f"n{number}") for number in range(4)}, {"True"})
        before = self.writes()
        for _ in range(12):
            self.everybody_says("n1", YES)
            self.advance(5)
            self.renew("n0", "n1", "n2", "n3")
        self.assertEqual(self.writes() - before, 12 * 4, "it wrote more than the Leases of this test")

    def test_a_dead_node_that_the_cloud_still_hears_is_only_called_so(self) -> None:
        self.everybody_says("n1", NO)
        self.advance(2)
        self.assertEqual((self.condition("n1"), self.taints("n1")), ("False", set()))
        self.assertEqual(self.node("n1")["metadata"]["annotations"], {"nodeunhealth": "yes"})
        self.assertIn("n1 PeersDoNotReachIt", self.events())

    def test_what_both_sides_have_lost_is_evicted_until_it_is_back(self) -> None:
        self.everybody_says("n1", YES)
        self.advance(10)
        self.renew("n0", "n2", "n3")
        self.everybody_says("n1", NO)
        self.advance(7)
        self.assertEqual(self.taints("n1"), {"superedge.io/dead:NoExecute"})
        self.assertIn("n1 EdgeNodeDead", self.events())
        self.assertEqual(self.kept(), {})
        self.renew("n1")
        self.advance(1)
        self.assertEqual(self.taints("n1"), set())
        self.everybody_says("n1", YES)
        self.advance(1)
        self.assertEqual(
            (self.condition("n1"), self.node("n1")["metadata"].get("annotations", {})), ("True", {})
        )

    def test_witnesses_that_change_their_minds_cause_few_writes(self) -> None:
        for lost in (False, True):
            self.advance(60 if lost else 1)
            self.renew("n0", "n2", "n3", *([] if lost else ["n1"]))
            before = self.writes()
            for number in range(300):
                self.everybody_says("n1", NO if number % 2 else YES)
                self.advance(0.1)
            self.assertLess(self.writes() - before, 60)
        self.everybody_says("n1", YES)
        self.renew("n1")
        self.advance(12)
        self.assertEqual((self.condition("n1"), self.taints("n1")), ("True", set()))

    def test_opinions_of_nodes_that_are_not_the_voters_to_judge_cost_nothing(self) -> None:
        self.call(
            "POST", "/api/v1/nodes", {"metadata": {"name": "m1", "labels": {"unit": "mill"}}}
        )  # fmt: skip
        self.advance(1)
        judged: list[str] = []
        self.patch(self.judging.judge, "_evaluate", judged.append)
        self.vote(n0={"n1": NO, "m1": NO, "nobody": NO})
        self.assertEqual(judged, ["n1"])

    def test_taints_of_others_stay(self) -> None:
        other = {"key": "mine", "effect": "NoSchedule", "value": "yes"}
        self.call("PATCH", "/api/v1/nodes/n1", {"spec": {"taints": [other]}}, "application/merge-patch+json")
        self.advance(20)
        self.everybody_says("n1", NO)
        self.advance(2)
        self.assertEqual(self.taints("n1"), {"mine:NoSchedule", "superedge.io/dead:NoExecute"})
        self.assertIn(other, self.node("n1")["spec"]["taints"])
        self.renew("n1")
        self.advance(1)
        self.assertEqual(self.node("n1")["spec"]["taints"], [other])

    def test_what_an_earlier_judge_left_goes_once_it_is_not_so(self) -> None:
        left = {
            "metadata": {"annotations": {"nodeunhealth": "yes"}},
            "spec": {"taints": [{"key": "superedge.io/dead", "effect": "NoExecute"}]},
        }
        self.call("PATCH", "/api/v1/nodes/n1", left, "application/merge-patch+json")
        self.everybody_says("n1", YES)
        self.advance(2)
        self.assertEqual((self.taints("n1"), self.node("n1")["metadata"].get("annotations", {})), (set(), {}))

    def test_nodes_out_of_scope_lose_the_condition_and_are_left_alone(self) -> None:
        self.everybody_says("n1", YES)
        self.advance(2)
        scope = {
            "kind": "ConfigMap", "metadata": {"name": "superedge-edge-health"},
            "data": {"units": "mill, farm"},
        }  # fmt: skip
        self.call("POST", "/api/v1/namespaces/superedge/configmaps", scope)
        self.advance(2)
        self.assertEqual({self.condition(f"n{number}") for number in range(4)}, {""})
        self.assertEqual(self.judging.judge.unit("n1").members, ())
        self.advance(60)
        self.assertEqual(self.kept(), {})
        path = "/api/v1/namespaces/superedge/configmaps/superedge-edge-health"
        self.call("PATCH", path, {"data": {"units": "sh*"}}, "application/merge-patch+json")
        self.advance(2)
        self.assertEqual(self.judging.judge.unit("n1").members, (), "what cannot be read changes nothing")
        self.call("PATCH", path, {"data": {"units": "*"}}, "application/merge-patch+json")
        self.advance(2)
        self.assertEqual(len(self.judging.judge.unit("n1").members), 4)


class NativeTests(Case):
    failover = "native"

    def test_the_clusters_own_taint_once_ready_is_unknown(self) -> None:
        self.everybody_says("n1", YES)
        self.advance(20)
        self.everybody_says("n1", NO)
        self.advance(2)
        self.assertEqual(self.taints("n1"), set())
        self.ready("n1", "Unknown")
        self.advance(1)
        self.assertEqual(self.taints("n1"), {"node.kubernetes.io/unreachable:NoExecute"})


class EvictUnknownTests(Case):
    more = {"unknown": "evict"}

    def test_what_nobody_knows_is_left_to_the_cluster(self) -> None:
        self.advance(20)
        self.assertEqual(self.kept(), {})


class ClockTests(Case):
    more = {"keep_unknown": 600.0}

    def test_a_clock_that_is_set_changes_no_verdict(self) -> None:
        self.everybody_says("n1", NO)
        self.advance(20)
        self.assertEqual(self.taints("n1"), {"superedge.io/dead:NoExecute"})
        self.renew("n0", "n2", "n3")
        self.advance(1)
        before = self.writes()
        for step in (3600.0, -3600.0):
            self.step = step
            for _ in range(4):
                self.renew("n0", "n2", "n3")
                before += 3
                self.everybody_says("n1", NO)
                self.advance(5)
            self.assertEqual((self.condition("n1"), self.condition("n2")), ("False", "True"))
        self.assertEqual(self.writes(), before)

    def test_what_nobody_knows_is_kept_as_long_as_ever(self) -> None:
        self.advance(100)
        self.step = 3600.0
        self.advance(10)
        self.assertEqual(len(self.kept()), 4)


class ForbiddenTests(Case):
    """One verb is missing among its rights."""

    def forbid(self, method: str, *ends: str) -> None:
        problem = APIError(403, "Forbidden", 'User "superedge-cloud" cannot do that')
        self.client.fault = lambda verb, path: problem if verb == method and path.endswith(ends) else None

    def test_nodes_cannot_be_patched_and_the_condition_is_written(self) -> None:
        self.forbid("PATCH", "/nodes/n1")
        self.everybody_says("n1", NO)
        self.advance(20)
        self.assertEqual((self.condition("n1"), self.taints("n1")), ("False", set()))

    def test_the_status_cannot_be_patched_and_nodes_are_evicted(self) -> None:
        self.forbid("PATCH", "/nodes/n1/status")
        self.everybody_says("n1", NO)
        self.advance(20)
        self.assertEqual(
            (self.condition("n1"), self.taints("n1")), ("Unknown", {"superedge.io/dead:NoExecute"})
        )

    def test_what_cannot_be_read_is_named(self) -> None:
        self.end()
        self.forbid("GET", "/leases")
        self.begin()
        self.advance(30)
        self.assertEqual(
            self.judging.status()["enforcement_fault"], "Leases in kube-node-lease could not be read yet"
        )
        self.forbid("GET", "none")
        self.advance(12)
        self.assertEqual(self.judging.fault, "")


class SuccessionTests(Case):
    def dead(self) -> None:
        """n1 is evicted, and its Ready condition is still True."""
        self.everybody_says("n1", NO)
        self.advance(16)
        self.renew("n0", "n2", "n3")
        self.advance(2)
        self.assertEqual(self.taints("n1"), {"superedge.io/dead:NoExecute"})

    def test_a_new_judge_does_not_take_back_an_eviction(self) -> None:
        self.dead()
        self.end()
        self.begin()
        before = self.api.writes["nodes"]
        for _ in range(10):
            self.renew("n0", "n2", "n3")
            self.advance(3)
            self.everybody_says("n1", NO)
        self.assertEqual(self.taints("n1"), {"superedge.io/dead:NoExecute"})
        self.assertEqual(self.api.writes["nodes"], before)
        self.renew("n1")
        self.advance(1)
        self.assertEqual(self.taints("n1"), set())

    def test_a_new_judge_leaves_the_entries_of_nodes_that_may_be_lost(self) -> None:
        self.everybody_says("n1", YES)
        self.advance(14)
        self.renew("n0", "n2", "n3")
        self.everybody_says("n1", YES)
        self.advance(3)
        self.assertEqual(list(self.kept()), ["n1"])
        self.end()
        self.begin()
        for _ in range(3):
            self.renew("n0", "n2", "n3")
            self.everybody_says("n1", YES)
            for _ in range(10):
                self.advance(1)
                self.assertEqual(list(self.kept()), ["n1"])
        for _ in range(3):
            self.renew("n0", "n1", "n2", "n3")
            self.advance(6)
        self.assertEqual(self.kept(), {})

    def test_a_new_judge_removes_what_needs_no_entry(self) -> None:
        old = {"n1": kube_time(self.wall() - 5), "n2": kube_time(self.wall() + 100), "n3": "never"}
        path = "/api/v1/namespaces/superedge/configmaps/superedge-kept-nodes"
        self.end()
        self.call("PATCH", path, {"data": old}, "application/merge-patch+json")
        self.begin()
        self.advance(3)
        self.assertEqual(set(self.kept()), {"n2"})
        for _ in range(5):
            self.renew("n0", "n1", "n2", "n3")
            self.advance(9)
        self.assertEqual(self.kept(), {})

    def test_a_new_judge_takes_nothing_back_before_it_has_judged(self) -> None:
        self.dead()
        self.end()
        self.patch(judge, "AT_ONCE", 1)
        self.patch(judge, "ROUND", 4)
        self.begin()
        before = self.api.writes["nodes"]
        self.renew("n0", "n2", "n3")
        self.advance(10)
        self.assertEqual(self.api.writes["nodes"], before)

    def test_nothing_is_judged_before_its_units_are_known(self) -> None:
        self.end()
        self.begin()
        self.patch(self.judging.judge._units, "_regroup", self.fail)
        self.judging.judge.node_changed("n9", read_node(b'{"metadata": {"name": "n9"}}'))
        self.assertEqual(self.judging.judge._units.by_node, {})


class ReturnTests(Case):
    def test_a_node_that_is_made_again_keeps_its_session(self) -> None:
        self.streams.nodes["n1"] = 1
        self.judging.sessions_changed()
        self.advance(1)
        self.call("DELETE", "/api/v1/nodes/n1")
        self.advance(1)
        self.assertIsNone(self.judging.judge.assessment("n1"))
        self.add_node("n1")
        self.renew("n1")
        self.advance(24)
        assessment = self.judging.judge.assessment("n1")
        assert assessment is not None
        self.assertIs(assessment.contact, Contact.SUSPECT)

    def test_nothing_is_left_of_a_node_that_goes(self) -> None:
        self.streams.nodes.update(n1=1, stranger=2)
        self.judging.sessions_changed()
        self.advance(1)
        self.everybody_says("n2", YES)
        self.call("DELETE", "/api/v1/nodes/n1")
        self.call("DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1")
        self.advance(1)
        self.assertEqual(set(self.judging.judge._states), {"n0", "n2", "n3"})
        self.assertEqual(set(self.judging.judge.box._held), {"n0", "n3"})


class MendingTests(Case):
    def pod(self, name: str, ready: str, containers: str) -> None:
        item = {
            "kind": "Pod", "apiVersion": "v1", "metadata": {"name": name},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
        }  # fmt: skip
        self.call("POST", "/api/v1/namespaces/default/pods", item)
        said = [{"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": containers}]
        status = {"status": {"phase": "Running", "conditions": said}}
        self.call("PATCH", f"/api/v1/namespaces/default/pods/{name}/status", status, mending.STRATEGIC_PATCH)

    def pod_ready(self, name: str) -> str:
        conditions = self.call("GET", f"/api/v1/namespaces/default/pods/{name}")["status"]["conditions"]
        return next(str(each["status"]) for each in conditions if each["type"] == "Ready")

    def lose(self) -> None:
        self.pod("a", "False", "True")
        self.pod("b", "False", "False")
        self.ready("n1", "Unknown")
        taints = [
            {"key": "node.kubernetes.io/unreachable", "effect": effect}
            for effect in ("NoSchedule", "NoExecute")
        ]
        self.call("PATCH", "/api/v1/nodes/n1", {"spec": {"taints": taints}}, "application/merge-patch+json")
        self.everybody_says("n1", YES)
        self.advance(3)

    def test_what_came_too_early_is_put_back(self) -> None:
        self.lose()
        self.assertEqual(self.taints("n1"), {"node.kubernetes.io/unreachable:NoSchedule"})
        self.assertEqual((self.pod_ready("a"), self.pod_ready("b")), ("True", "False"))

    def test_it_is_mended_soon_after_an_api_server_that_refused_for_long(self) -> None:
        refused = APIError(500, "InternalError", "etcdserver: request timed out")
        self.client.fault = lambda method, path: refused if (method, path[-3:]) == ("PATCH", "/n1") else None
        self.lose()
        for _ in range(20):
            self.everybody_says("n1", YES)
            self.advance(10)
        self.client.fault = lambda method, path: None
        self.advance(6)
        self.assertEqual(self.taints("n1"), {"node.kubernetes.io/unreachable:NoSchedule"})

    def test_a_refused_pod_keeps_no_other_from_it(self) -> None:
        refused = APIError(429, "TooManyRequests", "try again later")
        self.pod("c", "False", "True")
        self.client.fault = lambda method, path: refused if path.endswith("/pods/a/status") else None
        self.lose()
        self.assertEqual((self.pod_ready("a"), self.pod_ready("c")), ("False", "True"))
        self.client.fault = lambda method, path: None
        self.advance(5)
        self.assertEqual(self.pod_ready("a"), "True")

    def test_only_a_taint_that_comes_back_raises_doubt(self) -> None:
        refused = APIError(429, "TooManyRequests", "try again later")
        self.client.fault = lambda method, path: refused if (method, path[-3:]) == ("PATCH", "/n1") else None
        self.lose()
        self.assertFalse(self.judging._mender.doubtful)
        self.client.fault = lambda method, path: None
        self.advance(5)
        self.assertEqual(self.taints("n1"), {"node.kubernetes.io/unreachable:NoSchedule"})
        self.assertFalse(self.judging._mender.doubtful)

    def break_enforcement(self) -> None:
        self.broken = "it does not work"
        self.rules = [("uid", 2)]
        self.advance(12)
        self.assertEqual(self.judging.fault, self.broken)

    def test_without_enforcement_the_cluster_has_its_way(self) -> None:
        self.break_enforcement()
        self.lose()
        self.assertIn("node.kubernetes.io/unreachable:NoExecute", self.taints("n1"))
        self.assertEqual(self.pod_ready("a"), "False")

    def test_it_puts_things_back_within_seconds_of_an_enforcement_that_works_again(self) -> None:
        self.break_enforcement()
        for _ in range(30):
            self.renew("n0", "n1", "n2", "n3")
            self.everybody_says("n1", YES)
            self.advance(8)
        self.lose()
        for _ in range(3):
            self.everybody_says("n1", YES)
            self.advance(10)
        self.assertIn("node.kubernetes.io/unreachable:NoExecute", self.taints("n1"))
        self.broken = ""
        self.advance(4)
        self.assertEqual((self.judging.fault, self.pod_ready("a")), ("", "True"))
        self.assertEqual(self.taints("n1"), {"node.kubernetes.io/unreachable:NoSchedule"})

    def test_pods_that_are_set_to_not_ready_later(self) -> None:
        self.lose()
        self.advance(60)
        self.pod("late", "False", "True")
        for _ in range(6):
            self.everybody_says("n1", YES)
            self.advance(10.2)
        self.assertEqual(self.pod_ready("late"), "True")


class ProofTests(Case):
    def test_it_is_proven_again_when_its_objects_have_changed(self) -> None:
        self.advance(120)
        self.assertEqual(self.proofs, 1)
        self.rules = []
        self.advance(30)
        self.assertEqual(self.proofs, 1)
        self.rules = [("", 0)]
        self.advance(15)
        self.assertEqual(self.proofs, 2)

    def test_an_error_that_nobody_expected_does_not_end_the_proofs(self) -> None:
        async def broken() -> list[tuple[str, int]]:
            raise OSError(24, "Too many open files")

        with mock.patch.object(self.judging._proof, "rules", broken):
            self.advance(20)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.advance(40)
        proofs, self.rules = self.proofs, [("", 0)]
        self.advance(15)
        self.assertEqual(self.proofs, proofs + 1)

    def test_one_that_fails_is_repeated_more_and_more_rarely_but_at_once_after_a_change(self) -> None:
        self.broken, self.rules = "it does not work", [("uid", 2)]
        self.live(300)
        before = self.proofs
        self.live(120)
        self.assertIn(self.proofs - before, range(2, 6))
        self.broken, self.rules = "", [("uid", 3)]
        self.live(12)
        self.assertEqual(self.judging.fault, "")

    def live(self, seconds: int) -> None:
        """All nodes renew their Leases."""
        for _ in range(seconds // 6):
            self.renew("n0", "n1", "n2", "n3")
            self.advance(6)


class ReadingTests(SynchronousTestCase):
    def test_durations(self) -> None:
        for text, seconds in {
            "24h": 86400,
            "1h30m": 5400,
            "90s": 90,
            "2d": 172800,
            "0s": 0,
            "1.5h": 5400,
        }.items():
            self.assertEqual(read_duration(text), seconds)
        for text in ("", "24", "h", "1y", "-1h", "1h2", "1.2.3h", ".h"):
            self.assertIsNone(read_duration(text), text)

    def test_scopes(self) -> None:
        default = Scope("zone", frozenset({"a"}))
        for data, wanted in (
            ({}, default),
            ({"units": "*"}, Scope("zone", None)),
            ({"unit_label": "u", "units": "a,b\nc"}, Scope("u", frozenset({"a", "b", "c"}))),
            ({"unit_label": "", "units": ""}, Scope("", frozenset())),
        ):
            self.assertEqual(read_scope(json.dumps({"data": data}).encode(), default), wanted)
        self.assertRaises(DecodeError, read_scope, b'{"data": {"units": "a*"}}', default)

    def test_a_bare_node(self) -> None:
        found = read_node(b'{"metadata": {"name": "n"}}')
        self.assertEqual((found.ready, found.host, found.taints, found.published), ("Unknown", "", (), None))
