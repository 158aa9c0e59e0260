"""What Kubernetes did before it knew is put back, while the enforcement is proven."""

from __future__ import annotations

from unittest import mock

from superedge.health.cloud import mending
from superedge.kube.errors import APIError
from tests.health.judged import YES, Case


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

    def test_no_list_of_pods_reads_the_whole_of_etcd(self) -> None:
        with mock.patch.object(self.client, "call", wraps=self.client.call) as call:
            self.lose()
        asked = [each.args[2] for each in call.mock_calls if each.args[:2] == ("GET", mending.PODS.path())]
        self.assertEqual({query.get("resourceVersion") for query in asked}, {"0"})

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
