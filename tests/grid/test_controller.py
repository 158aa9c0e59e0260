"""What the controller makes, changes, leaves alone and removes."""

from __future__ import annotations

from prometheus_client import REGISTRY

from superedge.grid.cloud.controller import TAKEN_RETRY
from superedge.grid.names import GRID_SELECTOR, GRID_SITE, GRID_UNIQ_KEY, TOPOLOGY_KEYS
from superedge.kube.apply import APPLY_PATCH
from superedge.kube.client import MERGE_PATCH
from superedge.kube.errors import APIError
from tests.grid.controlled import GRACE, KEY, NAMESPACE, ControlledCase, pods


class MakingTests(ControlledCase):
    def test_a_workload_for_each_site(self) -> None:
        self.grid()
        self.assertEqual(set(self.children()), {"shop-a", "shop-b"})
        made = self.child("shop-a")
        template = made["spec"]["template"]
        self.assertEqual(template["spec"]["nodeSelector"], {KEY: "a"})
        self.assertEqual(template["metadata"]["labels"], {"app": "shop", GRID_SITE: "a"})
        self.assertEqual(made["spec"]["selector"], {"matchLabels": {"app": "shop", GRID_SITE: "a"}})
        self.assertEqual(self.child("shop-b")["spec"]["template"]["spec"]["nodeSelector"], {KEY: "b"})
        labels = made["metadata"]["labels"]
        self.assertEqual((labels[GRID_SELECTOR], labels[GRID_UNIQ_KEY]), ("shop", "example.com_site"))
        self.assertEqual(made["metadata"]["ownerReferences"][0]["kind"], "DeploymentGrid")

    def test_one_write_for_each_site_and_none_afterwards(self) -> None:
        self.grid()
        self.assertEqual(len(self.written("/deployments/")), 2)
        self.advance(700)
        self.assertEqual(self.written(""), [])

    def test_a_replica_that_begins_to_lead_writes_nothing(self) -> None:
        self.grid(template=pods(minReadySeconds=0, strategy={}))
        self.controller.stopService()
        self.spy.writes.clear()
        self.controlled()
        self.assertEqual(self.written(""), [])

    def test_a_statefulset_and_a_service(self) -> None:
        self.grid("statefulsetgrids", template=pods(serviceName="shop"))
        self.assertEqual(set(self.children("statefulsets")), {"shop-a", "shop-b"})
        ports = [{"port": 80, "targetPort": 8080}]
        self.grid("servicegrids", template={"selector": {"app": "shop"}, "ports": ports})
        service = self.child("shop-svc", "services")
        self.assertEqual(service["metadata"]["annotations"][TOPOLOGY_KEYS], f'["{KEY}"]')
        self.assertEqual(service["spec"]["selector"], {"app": "shop"})
        self.assertEqual(self.condition("Ready", "servicegrids")["status"], "True")

    def test_sites_whose_values_are_no_names(self) -> None:
        for number, site in enumerate(("Zone_A", "zone.a", "zone-a", "9")):
            self.node(f"m{number}", site)
        self.grid()
        selected = {
            name: item["spec"]["template"]["spec"]["nodeSelector"][KEY]
            for name, item in self.children().items()
        }
        self.assertEqual(len(selected), 6)
        self.assertEqual(set(selected.values()), {"a", "b", "Zone_A", "zone.a", "zone-a", "9"})

    def test_grids_are_counted(self) -> None:
        def counted() -> float | None:
            return REGISTRY.get_sample_value("superedge_grid_grids", {"kind": "DeploymentGrid"})

        self.grid()
        self.grid(name="other")
        self.assertEqual(counted(), 2)
        self.call("DELETE", self.path("deploymentgrids", "other"))
        self.advance(1)
        self.assertEqual(counted(), 1)

    def test_no_replicas(self) -> None:
        template = pods()
        del template["replicas"]
        self.grid(template=template)
        self.grid(template={**template, "minReadySeconds": 1})
        self.assertEqual(self.child("shop-b")["spec"]["minReadySeconds"], 1)

    def test_replicas_that_are_taken_out_stay_as_they_are(self) -> None:
        self.grid()
        template = pods()
        del template["replicas"]
        self.grid(template=template)
        self.assertEqual(self.child("shop-a")["spec"]["replicas"], 2)

    def test_a_field_that_is_taken_out_goes(self) -> None:
        self.grid(template=pods(minReadySeconds=7))
        self.grid()
        self.assertNotIn("minReadySeconds", self.child("shop-a")["spec"])

    def test_a_strategy_without_the_parameters_of_the_default_one(self) -> None:
        """The API server fills them in, nobody owns them, and it refuses them beside Recreate."""
        self.grid(template=pods(strategy={"type": "RollingUpdate"}))
        entries = self.child("shop-a")["metadata"]["managedFields"]
        filled_in = {"spec": {"strategy": {"rollingUpdate": {"maxSurge": "25%"}}}}
        self.patch_child("shop-a", filled_in, "nobody")
        self.patch_child("shop-a", {"metadata": {"managedFields": entries}}, "nobody")
        self.grid(template=pods(strategy={"type": "Recreate"}))
        self.assertEqual(self.child("shop-a")["spec"]["strategy"], {"type": "Recreate"})
        self.written("")
        self.grid(template=pods("shop:2", strategy={"type": "Recreate"}))
        self.assertEqual(len(self.written("/deployments/shop-a")), 1)

    def test_a_label_that_is_taken_off_the_grid_goes(self) -> None:
        self.grid()
        path = self.path("deploymentgrids", "shop")
        for value in ("x", None):
            self.call("PATCH", path, {"metadata": {"labels": {"team": value}}}, MERGE_PATCH)
            self.advance(1)
            self.assertEqual(self.child("shop-a")["metadata"]["labels"].get("team"), value)

    def test_nothing_is_written_twice_while_the_watch_is_late(self) -> None:
        self.grid()
        self.spy.lag = 4.0
        self.written("")
        self.grid(template=pods("shop:2"))
        for _ in range(5):
            self.controller._all_sites(next(iter(self.controller._view.grids.values())))
            self.advance(0.2)
        self.advance(5)
        self.assertEqual(len(self.written("/deployments/")), 2)

    def test_many_changes_are_told_in_few_writes(self) -> None:
        self.grid()
        self.written("")
        for number in range(40):
            self.roll_out("shop-a", "shop-b", ready=bool(number // 2 % 2), seconds=0.1)
        self.assertLess(len(self.written("/status")), 10)
        self.advance(2)
        self.assertEqual(self.status()["readySites"], 2)

    def test_another_key(self) -> None:
        self.node("n0", "a", zone="x")
        self.grid()
        self.grid(gridUniqKey="zone")
        self.advance(GRACE + 1)
        (made,) = self.children().values()
        self.assertEqual(made["spec"]["template"]["spec"]["nodeSelector"], {"zone": "x"})


class LeavingAloneTests(ControlledCase):
    def setUp(self) -> None:
        super().setUp()
        self.grid()
        self.spy.writes.clear()

    def test_an_autoscalers_replicas(self) -> None:
        self.patch_child("shop-a", {"spec": {"replicas": 5}}, "kube-controller-manager")
        self.assertEqual(self.written("/deployments/"), [])
        self.grid(template=pods("shop:2", replicas=3))
        self.assertEqual(self.child("shop-a")["spec"]["replicas"], 5)
        self.assertEqual((self.image("shop-a"), self.child("shop-b")["spec"]["replicas"]), ("shop:2", 3))
        said = "kube-controller-manager has set its replicas to 5: those of the template do not count"
        self.assertEqual(self.status()["states"]["a"]["message"], said)

    def test_an_autoscalers_replicas_that_the_watch_has_not_told_of(self) -> None:
        self.spy.lag = 60.0
        self.patch_child("shop-a", {"spec": {"replicas": 5}}, "kube-controller-manager")
        self.grid(template=pods("shop:2", replicas=3))
        self.assertEqual((self.image("shop-a"), self.child("shop-a")["spec"]["replicas"]), ("shop:2", 5))
        self.assertEqual((self.image("shop-b"), self.child("shop-b")["spec"]["replicas"]), ("shop:2", 3))
        self.assertEqual(len(self.written("/deployments/shop-b")), 1)

    def test_drift_while_replicas_are_set(self) -> None:
        containers = [{"name": "main", "image": "other:1"}]
        patch = {"spec": {"template": {"spec": {"containers": containers}}}}
        scaled = self.api.client().call(
            "PATCH",
            self.path("deployments", "shop-a"),
            {"fieldManager": "scaler"},
            {"spec": {"replicas": 5}},
            MERGE_PATCH,
        )
        self.spy.before_write = scaled
        self.patch_child("shop-a", patch, "edit")
        self.assertIsNone(self.spy.before_write)
        self.advance(2)
        self.assertEqual((self.image("shop-a"), self.child("shop-a")["spec"]["replicas"]), ("shop:1", 5))

    def test_an_autoscalers_replicas_of_what_lost_its_label(self) -> None:
        patch = {"metadata": {"labels": {GRID_SELECTOR: None}}, "spec": {"replicas": 5}}
        self.patch_child("shop-a", patch, "other")
        made = self.child("shop-a")
        self.assertEqual((made["metadata"]["labels"][GRID_SELECTOR], made["spec"]["replicas"]), ("shop", 5))
        self.assertEqual(self.condition("Degraded")["status"], "False")

    def test_annotations_and_restarts(self) -> None:
        restarted = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}
        patch = {"metadata": {"annotations": {"mine": "yes"}}, "spec": {"template": restarted}}
        self.patch_child("shop-a", patch, "kubectl-rollout")
        self.grid(template=pods("shop:2"))
        made = self.child("shop-a")
        self.assertEqual(made["metadata"]["annotations"]["mine"], "yes")
        self.assertEqual(
            made["spec"]["template"]["metadata"]["annotations"], restarted["metadata"]["annotations"]
        )
        self.assertEqual(self.image("shop-a"), "shop:2")

    def test_drift_in_what_it_owns_is_put_back(self) -> None:
        containers = [{"name": "main", "image": "other:1"}]
        self.patch_child("shop-a", {"spec": {"template": {"spec": {"containers": containers}}}}, "edit")
        self.patch_child("shop-b", {"metadata": {"labels": {GRID_SITE: None}}}, "edit")
        self.patch_child("shop-b", {"metadata": {"labels": {GRID_SITE: "other"}}}, "edit")
        self.patch_child("shop-b", {"metadata": {"labels": {GRID_SELECTOR: None}}}, "edit")
        self.assertEqual(self.image("shop-a"), "shop:1")
        self.assertEqual(self.child("shop-b")["metadata"]["labels"][GRID_SITE], "b")
        self.assertEqual(self.child("shop-b")["metadata"]["labels"][GRID_SELECTOR], "shop")

    def test_a_deleted_workload_is_made_again(self) -> None:
        self.call("DELETE", self.path("deployments", "shop-a"))
        self.advance(1)
        self.assertIn("shop-a", self.children())

    def test_five_changes_while_others_write_are_five_writes(self) -> None:
        for number in range(5):
            for count in range(20):
                self.patch_child(
                    "shop-a", {"metadata": {"annotations": {"busy": f"{number}/{count}"}}}, "other"
                )
            self.grid(template=pods(f"shop:{number + 2}"))
        self.assertEqual(len(self.written("/deployments/shop-a")), 5)

    def test_what_somebody_else_made_is_not_taken(self) -> None:
        theirs = {"metadata": {"name": "shop-c"}, "spec": {**pods("theirs:1")}}
        self.call("POST", self.path("deployments"), theirs, fieldManager="kubectl-create")
        self.node("n3", "c")
        self.advance(2)
        self.assertEqual(self.image("shop-c"), "theirs:1")
        self.assertEqual(self.condition("Degraded")["reason"], "NameTaken")
        self.assertIn(
            f"kubectl -n {NAMESPACE} label deployment shop-c", self.condition("Degraded")["message"]
        )

    def test_a_name_that_was_taken_is_used_once_it_is_free(self) -> None:
        theirs = {"metadata": {"name": "shop-c"}, "spec": {**pods("theirs:1")}}
        self.call("POST", self.path("deployments"), theirs, fieldManager="kubectl-create")
        self.node("n3", "c")
        self.advance(700)
        self.call("DELETE", self.path("deployments", "shop-c"))
        self.advance(TAKEN_RETRY + 2)
        self.assertEqual((self.image("shop-c"), self.condition("Degraded")["status"]), ("shop:1", "False"))

    def test_what_is_handed_over_by_its_label_is_taken_at_once(self) -> None:
        theirs = {"metadata": {"name": "shop-c"}, "spec": {**pods("theirs:1")}}
        self.call("POST", self.path("deployments"), theirs, fieldManager="kubectl-create")
        self.node("n3", "c")
        self.advance(700)
        self.patch_child("shop-c", {"metadata": {"labels": {GRID_SELECTOR: "shop"}}}, "label")
        self.advance(2)
        self.assertEqual((self.image("shop-c"), self.condition("Degraded")["status"]), ("shop:1", "False"))

    def test_a_service_that_somebody_else_made_is_not_taken(self) -> None:
        template = {"selector": {"app": "shop"}, "ports": [{"port": 80}]}
        self.call("POST", self.path("services"), {"metadata": {"name": "web-svc"}, "spec": template})
        self.grid("servicegrids", "web", template=template)
        self.assertNotIn("annotations", self.child("web-svc", "services")["metadata"])
        self.assertEqual(self.condition("Ready", "servicegrids", "web")["reason"], "NameTaken")

    def test_a_workload_of_another_grid_is_not_taken(self) -> None:
        self.node("n3", "x-a")
        self.grid(name="shop-x")
        self.assertEqual(self.condition("Degraded", name="shop-x")["reason"], "NameTaken")
        self.assertEqual(self.child("shop-x-a")["metadata"]["labels"][GRID_SELECTOR], "shop")
        self.node("n3", "")
        self.advance(GRACE + 5)
        self.assertEqual(self.condition("Degraded", name="shop-x")["status"], "False")
        self.assertEqual(self.child("shop-x-a")["metadata"]["labels"][GRID_SELECTOR], "shop-x")


class TroubleTests(ControlledCase):
    def test_a_missing_template_degrades_its_site_alone(self) -> None:
        self.grid(templates={"a": "nowhere"})
        self.assertEqual(set(self.children()), {"shop-b"})
        self.roll_out("shop-b")
        degraded = self.condition("Degraded")
        self.assertEqual((degraded["status"], degraded["reason"]), ("True", "TemplateMissing"))
        self.assertIn("a: its template nowhere is not in spec.templatePool", degraded["message"])
        self.assertTrue(self.status()["states"]["b"]["ready"])
        self.grid(templates={})
        self.assertEqual(self.condition("Degraded")["status"], "False")

    def test_one_site_takes_a_named_template(self) -> None:
        pool = {"trial": pods("shop:2"), "bare": {"template": pods("shop:3")["template"]}}
        self.grid(templatePool=pool, templates={"a": "trial"})
        self.assertEqual((self.image("shop-a"), self.image("shop-b")), ("shop:2", "shop:1"))
        self.assertEqual(self.status()["states"]["a"]["template"], "trial")
        self.grid(templatePool=pool, templates={"a": "bare"})
        self.assertEqual(self.image("shop-a"), "shop:3")
        self.call("DELETE", self.path("deployments", "shop-a"))
        self.advance(1)
        self.assertEqual(self.child("shop-a")["spec"]["selector"]["matchLabels"]["app"], "shop")
        self.grid(templatePool=pool, templates={}, defaultTemplateName="trial")
        self.assertEqual((self.image("shop-a"), self.image("shop-b")), ("shop:2", "shop:2"))

    def test_unused_templates_are_taken_out_when_asked_for(self) -> None:
        pool = {"trial": pods("shop:2"), "old": pods("shop:0")}
        self.grid(templatePool=pool, templates={"a": "trial"})
        self.assertEqual(
            set(self.call("GET", self.path("deploymentgrids", "shop"))["spec"]["templatePool"]), set(pool)
        )
        self.grid(templatePool=pool, templates={"a": "trial"}, autoDeleteUnusedTemplate=True)
        spec = self.call("GET", self.path("deploymentgrids", "shop"))["spec"]
        self.assertEqual(set(spec["templatePool"]), {"trial"})

    def test_a_refusal_is_told_and_tried_again_less_and_less_often(self) -> None:
        self.spy.refusals["/deployments/shop-a"] = APIError(422, "Invalid", "image: too long")
        self.grid()
        self.assertEqual(set(self.children()), {"shop-b"})
        self.assertIn(
            "a: the API server says: 422 Invalid: image: too long", self.condition("Degraded")["message"]
        )
        self.written("")
        self.advance(600)
        self.assertLess(len(self.written("/deployments/")), 12)
        self.spy.refusals.clear()
        self.advance(301)
        self.assertEqual(set(self.children()), {"shop-a", "shop-b"})
        self.assertEqual(self.condition("Degraded")["status"], "False")

    def test_an_internal_error_is_told(self) -> None:
        """So the API server answers to a field that it does not know in a server-side apply."""
        said = "failed to create typed patch object: .spec.future: field not declared in schema"
        self.spy.refusals["/deployments/shop-a"] = APIError(500, "", said)
        self.grid()
        self.assertIn(f"a: the API server says: 500: {said}", self.condition("Degraded")["message"])

    def test_the_users_spec_is_not_written(self) -> None:
        self.grid()
        before = self.call("GET", self.path("deploymentgrids", "shop"))
        self.roll_out("shop-a", "shop-b")
        after = self.call("GET", self.path("deploymentgrids", "shop"))
        self.assertEqual(before["spec"], after["spec"])
        self.assertEqual(before["metadata"]["generation"], after["metadata"]["generation"])

    def test_status(self) -> None:
        self.grid()
        self.assertEqual(self.condition("Ready")["reason"], "SitesNotReady")
        self.roll_out("shop-a")
        status = self.status()
        self.assertEqual((status["sites"], status["updatedSites"], status["readySites"]), (2, 2, 1))
        self.roll_out("shop-b")
        status = self.status()
        self.assertEqual((status["readySites"], status["observedGeneration"]), (2, 1))
        self.assertEqual(self.condition("Ready")["message"], "2 sites ready")
        state = status["states"]["a"]
        self.assertEqual((state["name"], state["replicas"], state["readyReplicas"]), ("shop-a", 2, 2))
        events = self.call("GET", f"/api/v1/namespaces/{NAMESPACE}/events")["items"]
        self.assertEqual([event["reason"] for event in events], ["SitesReady"])

    def test_ready_is_not_said_of_what_is_not_done_yet(self) -> None:
        self.grid()
        self.roll_out("shop-a", "shop-b")
        self.spy.refusals["/deployments/"] = APIError(503, "Unavailable", "later")
        self.grid(template=pods(replicas=3))
        self.assertEqual(self.status()["observedGeneration"], 1)
        self.advance(6)
        self.assertEqual(self.status()["observedGeneration"], 2)
        ready = self.condition("Ready")
        self.assertEqual(
            (ready["status"], ready["message"]),
            ("False", "2 of 2 sites ready, 0 with all pods of the template"),
        )

    def test_a_replica_that_begins_to_lead_tells_nothing_new(self) -> None:
        self.grid()
        self.roll_out("shop-a", "shop-b")
        self.controller.stopService()
        self.spy.writes.clear()
        self.controlled()
        self.advance(10)
        self.assertEqual(self.written(""), [])

    def test_the_numbers_of_grids_and_sites_are_the_leaders(self) -> None:
        def numbers() -> tuple[float | None, float | None]:
            value = REGISTRY.get_sample_value
            return (
                value("superedge_grid_grids", {"kind": "DeploymentGrid"}),
                value("superedge_grid_sites", {"state": "waiting"}),
            )

        self.grid()
        self.grid(name="till")
        self.assertEqual(numbers(), (2, 4))
        self.call("DELETE", self.path("deploymentgrids", "till"))
        self.advance(1)
        self.assertEqual(numbers(), (1, 2))
        self.controller.stopService()
        self.advance(5)
        self.assertEqual(numbers(), (None, None))

    def test_a_condition_that_somebody_else_added(self) -> None:
        self.grid()
        audited = {"type": "Audited", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        item = {
            "apiVersion": "superedge.io/v1", "kind": "DeploymentGrid", "metadata": {"name": "shop"},
            "status": {"conditions": [audited]},
        }  # fmt: skip
        path = self.path("deploymentgrids", "shop", "status")
        self.call("PATCH", path, item, APPLY_PATCH, fieldManager="auditor", force="true")
        self.advance(1)
        self.written("")
        self.patch_child("shop-a", {"metadata": {"annotations": {"seen": "yes"}}}, "kubectl")
        self.assertEqual(self.written("/status"), [])
        self.roll_out("shop-a")
        self.assertEqual(self.status()["readySites"], 1)
        self.assertEqual(self.condition("Audited")["status"], "True")

    def test_a_workload_whose_deletion_waits(self) -> None:
        self.grid()
        self.patch_child("shop-a", {"metadata": {"finalizers": ["example.com/backup"]}}, "kubectl")
        self.call("DELETE", self.path("deployments", "shop-a"))
        self.advance(2)
        said = self.status()["states"]["a"]["message"]
        self.assertEqual(said, "waits until Deployment shop-a is deleted")
        self.patch_child("shop-a", {"metadata": {"finalizers": None}}, "kubectl")
        self.advance(2)
        self.assertEqual(self.status()["states"]["a"]["message"], "")

    def test_no_site(self) -> None:
        self.grid(gridUniqKey="nowhere")
        self.assertEqual(self.condition("Ready")["reason"], "NoSites")


class RemovingTests(ControlledCase):
    def setUp(self) -> None:
        super().setUp()
        self.grid()

    def test_the_last_nodes_workload_goes_after_a_while(self) -> None:
        self.node("n2", "")
        self.advance(GRACE - 2)
        self.assertIn("shop-b", self.children())
        self.assertIn("is removed at", self.status()["states"]["b"]["message"])
        self.advance(4)
        self.assertEqual(set(self.children()), {"shop-a"})
        self.assertNotIn("b", self.status()["states"])
        events = self.call("GET", f"/api/v1/namespaces/{NAMESPACE}/events")["items"]
        self.assertIn("SiteRemoved", [event["reason"] for event in events])

    def test_a_label_that_names_another_site_removes_nothing(self) -> None:
        self.spy.refusals["/deployments/shop-b"] = APIError(403, "Forbidden", "no")
        self.patch_child("shop-b", {"metadata": {"labels": {GRID_SITE: "nowhere"}}}, "edit")
        self.advance(GRACE + 10)
        self.assertNotIn("DELETE", {method for method, _ in self.written("")})

    def test_one_of_several_nodes(self) -> None:
        self.node("n0", "")
        self.advance(GRACE + 2)
        self.assertIn("shop-a", self.children())

    def test_a_blip_removes_nothing(self) -> None:
        uid = self.child("shop-b")["metadata"]["uid"]
        for _ in range(4):
            self.call("DELETE", "/api/v1/nodes/n2")
            self.advance(GRACE - 3)
            self.node("n2", "b")
            self.advance(4)
        self.assertEqual(self.child("shop-b")["metadata"]["uid"], uid)

    def test_what_the_api_server_still_has_is_not_removed(self) -> None:
        """A list that came back empty."""
        reflector = self.controller._reflectors[0]
        for key in list(reflector.objects):
            reflector._delete(key)
        self.advance(GRACE + 10)
        self.assertEqual(set(self.children()), {"shop-a", "shop-b"})

    def test_a_grid_that_goes_takes_nothing_along_itself(self) -> None:
        """The cluster's garbage collector removes what it owned."""
        self.spy.writes.clear()
        self.call("DELETE", self.path("deploymentgrids", "shop"))
        self.advance(GRACE + 10)
        self.assertEqual(self.written(""), [])
