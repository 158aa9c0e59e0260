"""Workloads of the predecessor: adopted as they are, and handed over."""

from __future__ import annotations

from superedge.grid.cloud.children import PREDECESSOR
from superedge.grid.names import GRID_SELECTOR, GRID_SITE, GRID_UNIQ_KEY
from tests.grid.controlled import KEY, ControlledCase, pods


class AdoptionTests(ControlledCase):
    """Objects as the Go SuperEdge's controller makes them."""

    def setUp(self) -> None:
        super().setUp()
        self.controller.stopService()
        self.grid()

    def predecessor(self, name: str = "shop-a", image: str = "shop:1", key: str = "site") -> None:
        grid = self.call("GET", self.path("deploymentgrids", "shop"))
        owner = {
            "apiVersion": "superedge.io/v1", "kind": "DeploymentGrid", "name": "shop",
            "uid": grid["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True,
        }  # fmt: skip
        spec = pods(image, minReadySeconds=3)
        spec["template"]["spec"]["nodeSelector"] = {KEY: "a"}
        metadata = {
            "name": name, "labels": {GRID_SELECTOR: "shop", GRID_UNIQ_KEY: key}, "ownerReferences": [owner],
        }  # fmt: skip
        self.call(
            "POST", self.path("deployments"), {"metadata": metadata, "spec": spec}, fieldManager=PREDECESSOR
        )

    def test_no_pod_is_made_again(self) -> None:
        self.predecessor()
        before = self.child("shop-a")
        self.controlled()
        self.advance(2)
        after = self.child("shop-a")
        self.assertEqual(after["spec"]["template"], before["spec"]["template"])
        self.assertEqual(after["spec"]["selector"], before["spec"]["selector"])
        self.assertEqual(after["metadata"]["labels"][GRID_SITE], "a")
        self.assertEqual(
            {entry["manager"] for entry in after["metadata"]["managedFields"]}, {"superedge-grid"}
        )
        self.assertIn("kubectl -n shops delete deployment shop-a", self.status()["states"]["a"]["message"])
        self.assertEqual(self.condition("Degraded")["status"], "False")

    def test_fields_that_it_set_go_when_they_are_to_go(self) -> None:
        self.predecessor()
        self.controlled()
        self.assertNotIn("minReadySeconds", self.child("shop-a")["spec"])

    def test_the_pods_get_their_label_with_the_next_template(self) -> None:
        self.predecessor()
        self.controlled()
        self.grid(template=pods("shop:2"))
        made = self.child("shop-a")["spec"]
        self.assertEqual(made["template"]["metadata"]["labels"], {"app": "shop", GRID_SITE: "a"})
        self.assertEqual(made["selector"], {"matchLabels": {"app": "shop"}})

    def test_a_selector_that_the_pods_do_not_match(self) -> None:
        self.predecessor()
        template = pods()
        template["selector"] = {"matchLabels": {"app": "other"}}
        template["template"]["metadata"]["labels"] = {"app": "other"}
        self.grid(template=template)
        self.controlled()
        degraded = self.condition("Degraded")
        self.assertEqual(degraded["reason"], "SelectorImmutable")
        self.assertIn("kubectl -n shops delete deployment shop-a", degraded["message"])
        self.assertEqual(self.child("shop-a")["spec"]["selector"], {"matchLabels": {"app": "shop"}})

    def test_what_is_handed_over(self) -> None:
        labels = {GRID_SELECTOR: "shop"}
        theirs = {"metadata": {"name": "shop-a", "labels": labels}, "spec": pods("shop:0")}
        self.call("POST", self.path("deployments"), theirs, fieldManager="kubectl-create")
        self.controlled()
        self.assertEqual(self.image("shop-a"), "shop:1")
        self.assertEqual(self.child("shop-a")["metadata"]["ownerReferences"][0]["name"], "shop")
