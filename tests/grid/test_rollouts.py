"""A new template reaches one site after the other."""

from __future__ import annotations

from superedge.kube.client import MERGE_PATCH
from tests.grid.controlled import ControlledCase, pods


class WaveTests(ControlledCase):
    nodes = {"n0": "a", "n1": "b", "n2": "c", "n3": "d"}
    names = ("shop-a", "shop-b", "shop-c", "shop-d")

    def start(self, **rollout: object) -> None:
        self.rollout = rollout
        self.grid(rollout=rollout)
        self.roll_out(*self.names)

    def images(self) -> str:
        return "".join(self.image(name)[-1] for name in self.names)

    def test_one_after_the_other(self) -> None:
        self.start()
        self.assertEqual(self.condition("Progressing")["reason"], "RolloutComplete")
        self.grid(template=pods("shop:2"), rollout={})
        seen = [self.images()]
        for name in self.names:
            self.roll_out(name)
            seen.append(self.images())
        self.assertEqual(seen, ["2111", "2211", "2221", "2222", "2222"])
        self.assertEqual(self.condition("Progressing")["reason"], "RolloutComplete")

    def test_a_site_that_does_not_become_ready_stops_it(self) -> None:
        self.start(maxSitesUnavailable=2)
        self.grid(template=pods("shop:2"), rollout=self.rollout)
        self.assertEqual(self.images(), "2211")
        failed = {
            "type": "Progressing",
            "status": "False",
            "reason": "ProgressDeadlineExceeded",
            "message": "no",
        }
        self.roll_out("shop-a", ready=False)
        self.call(
            "PATCH",
            self.path("deployments", "shop-a", "status"),
            {"status": {"conditions": [failed]}},
            MERGE_PATCH,
        )
        self.roll_out("shop-b")
        self.assertEqual(self.images(), "2211")
        progressing = self.condition("Progressing")
        self.assertEqual(progressing["reason"], "RolloutStopped")
        self.assertIn("stopped, since a did not become ready", progressing["message"])
        self.assertEqual(self.condition("Degraded")["message"], "a: no")
        self.grid(template=pods("shop:1"), rollout=self.rollout)
        self.roll_out("shop-a", "shop-b")
        self.assertEqual(self.images(), "1111")

    def test_a_pause(self) -> None:
        self.start(pauseAfter=1, maxSitesUnavailable="100%")
        self.grid(template=pods("shop:2"), rollout=self.rollout)
        self.roll_out(*self.names)
        self.assertEqual((self.images(), self.condition("Progressing")["reason"]), ("2111", "RolloutPaused"))
        self.grid(template=pods("shop:2"), rollout={"pauseAfter": "75%", "maxSitesUnavailable": 4})
        self.roll_out(*self.names)
        self.assertEqual(self.images(), "2221")
        self.grid(template=pods("shop:2"), rollout={})
        self.assertEqual(self.images(), "2222")

    def test_the_order_is_that_of_a_label(self) -> None:
        for node, order in (("n0", "10"), ("n1", "9"), ("n3", "last")):
            self.node(node, self.nodes[node], order=order)
        self.start(orderBy="order")
        self.grid(template=pods("shop:2"), rollout=self.rollout)
        seen = [self.images()]
        for name in ("shop-b", "shop-a", "shop-d"):
            self.roll_out(name)
            seen.append(self.images())
        self.assertEqual(seen, ["1211", "2211", "2212", "2222"])

    def test_what_waits_is_left_as_it_is(self) -> None:
        self.start()
        self.grid(template=pods("shop:2"), rollout={})
        self.patch_child("shop-d", {"metadata": {"annotations": {"mine": "yes"}}}, "other")
        self.node("n4", "e")
        self.advance(2)
        self.assertEqual((self.images(), self.image("shop-e")), ("2111", "shop:2"))
        self.call("DELETE", self.path("deployments", "shop-c"))
        self.advance(2)
        self.assertEqual(self.images(), "2121")

    def test_a_trial_does_not_wait(self) -> None:
        self.start()
        self.grid(templatePool={"trial": pods("shop:9")}, templates={"d": "trial"}, rollout={})
        self.assertEqual(self.images(), "1119")

    def test_a_statefulset_that_is_not_ready_for_long_stops_it(self) -> None:
        self.grid("statefulsetgrids", template=pods(), rollout={"maxSitesUnavailable": 2})
        self.roll_out(*self.names, plural="statefulsets")
        self.grid("statefulsetgrids", template=pods("shop:2"), rollout={"maxSitesUnavailable": 2})
        self.advance(605)
        self.roll_out("shop-b", plural="statefulsets")
        self.assertEqual(self.condition("Progressing", "statefulsetgrids")["reason"], "RolloutStopped")
