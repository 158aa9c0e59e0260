"""A judge that begins, that lacks a right, and nodes that return."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from superedge.health import metrics
from superedge.health.cloud import judge
from superedge.health.cloud.cluster import Scope, read_node
from superedge.health.votes.decisions import Contact
from superedge.kube.errors import APIError
from superedge.kube.times import kube_time
from tests.health.judged import NO, YES, Case
from tests.health.simulation import facts


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

    def test_the_first_of_several_witnesses_takes_nothing_back_from_a_new_judge(self) -> None:
        self.dead()
        self.end()
        self.patch(judge, "AT_ONCE", 0)
        self.begin()
        self.advance(0.2)
        before = self.api.writes["nodes"]
        self.vote(n0={"n1": NO})
        self.advance(2)
        self.everybody_says("n1", NO)
        self.advance(5)
        self.assertEqual(self.taints("n1"), {"superedge.io/dead:NoExecute"})
        self.assertEqual(self.api.writes["nodes"], before)

    def test_a_new_judge_counts_from_the_verdict_of_the_last(self) -> None:
        """n1 was lost, but alive, long before nobody spoke of it any more."""
        note = {"metadata": {"annotations": {"superedge.io/keep-unknown": "90s"}}}
        self.call("PATCH", "/api/v1/nodes/n1", note, "application/merge-patch+json")
        self.ready("n1", "Unknown")
        for _ in range(6):
            self.everybody_says("n1", YES)
            self.renew("n0", "n2", "n3")
            self.advance(10)
        self.live(50)
        self.assertEqual(self.condition("n1"), "Unknown")
        since = self.since("n1")
        self.end()
        self.begin()
        self.live(50)
        self.assertEqual(set(self.kept()), {"n1"})
        self.live(40)
        self.assertEqual(self.kept(), {})
        self.assertEqual(self.since("n1"), since)

    def since(self, name: str) -> int:
        """When its verdict changed, in whole seconds."""
        assessment = self.judging.judge.assessment(name)
        assert assessment is not None
        return int(assessment.since)

    def live(self, seconds: int) -> None:
        """The others renew their Leases."""
        for _ in range(seconds // 10):
            self.renew("n0", "n2", "n3")
            self.advance(10)

    def test_nodes_are_judged_when_all_are_known(self) -> None:
        self.end()
        self.begin()
        judged: list[str] = []
        self.patch(self.judging.judge, "_evaluate", judged.append)
        self.judging.judge.scope_changed(Scope("unit", None))
        self.judging.judge.node_changed("n9", facts("n9", labels={"unit": "shop"}))
        self.assertEqual(judged, [])
        self.advance(1)
        self.assertIn("n9", judged)

    def test_what_the_last_judge_exported_is_exported_no_more(self) -> None:
        self.everybody_says("n1", NO)
        self.advance(2)
        verdicts = self.samples(metrics.VERDICTS)
        self.assertEqual(self.samples(metrics.ENFORCEMENT), [1.0])
        self.assertEqual(sum(self.samples(metrics.NODES)), 4)
        self.end()
        for metric in (metrics.ENFORCEMENT, metrics.NODES, metrics.OUTCOMES):
            self.assertEqual(self.samples(metric), [])
        self.begin()
        self.assertEqual(self.samples(metrics.ENFORCEMENT), [0.0])
        self.advance(2)
        self.assertEqual(self.samples(metrics.ENFORCEMENT), [1.0])
        self.assertEqual(self.samples(metrics.VERDICTS), verdicts, "no verdict has changed")

    def samples(self, metric: MetricWrapperBase) -> list[float]:
        """The values that it has, by its labels, but the times when they were made."""
        return [
            sample.value
            for family in metric.collect()
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]

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
        self.judging.judge.answered("stranger", True)
        self.everybody_says("n2", YES)
        self.call("DELETE", "/api/v1/nodes/n1")
        self.call("DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1")
        self.advance(1)
        self.assertEqual(set(self.judging.judge._states), {"n0", "n2", "n3"})
        self.assertEqual(set(self.judging.judge.box._held), {"n0", "n3"})
