"""The judging replica on an API server in this process: what it writes, and what it leaves alone."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.health.cloud.cluster import Scope, read_duration, read_node, read_scope
from superedge.kube.errors import DecodeError
from tests.health.judged import NO, YES, Case


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

    def test_a_taint_of_the_same_key_and_another_effect_evicts_nobody(self) -> None:
        self.everybody_says("n1", NO)
        self.advance(16)
        other = {"key": "superedge.io/dead", "effect": "NoSchedule"}
        self.call("PATCH", "/api/v1/nodes/n1", {"spec": {"taints": [other]}}, "application/merge-patch+json")
        self.advance(1)
        self.assertEqual(self.taints("n1"), {"superedge.io/dead:NoExecute"})

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
        scope: dict[str, Any] = {
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
        self.call("DELETE", path)
        self.advance(2)
        self.assertEqual(len(self.judging.judge.unit("n1").members), 4)
        scope["data"]["units"] = "sh*"
        self.call("POST", "/api/v1/namespaces/superedge/configmaps", scope)
        self.advance(2)
        self.assertEqual(len(self.judging.judge.unit("n1").members), 4, "not as the deleted one said")
        self.call("PATCH", path, {"data": {"units": "mill"}}, "application/merge-patch+json")
        self.advance(2)
        self.assertEqual(self.judging.judge.unit("n1").members, ())


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

    def test_addresses_and_ports_that_are_none(self) -> None:
        for host, port in (("slow.example", 70_000), ("", -1), ("1.2.3", 65_536), ("a b", 0)):
            status = {
                "addresses": [{"type": "InternalIP", "address": host}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            }
            found = read_node(json.dumps({"metadata": {"name": "n"}, "status": status}).encode())
            self.assertEqual((found.host, found.kubelet), ("", 0))
