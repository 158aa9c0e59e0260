"""The contract's part on single objects: create, get, update, delete, and how they fail."""

from __future__ import annotations

from typing import Any

from superedge.testing.contracts.case import ContractCase, configmap


class ObjectContract(ContractCase):
    """Reads and writes of one object."""

    def test_create_and_get(self) -> None:
        """The server gives uid, creation time and version; get gives the same object."""
        made = self.create("one", {"app": "x"}, key="value")
        metadata = made["metadata"]
        self.assertEqual((made["kind"], made["apiVersion"]), ("ConfigMap", "v1"))
        self.assertEqual((metadata["namespace"], made["data"]), (self.namespace, {"key": "value"}))
        self.assertRegex(metadata["uid"], "^[0-9a-f-]{36}$")
        self.assertRegex(metadata["creationTimestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertTrue(metadata["resourceVersion"].isdigit())
        (manager,) = metadata["managedFields"]
        self.assertEqual((manager["manager"], manager["operation"]), ("contract", "Update"))
        self.assertIn("f:key", manager["fieldsV1"]["f:data"])
        self.assertEqual(self.ok(self.admin.call("GET", f"{self.configmaps}/one")), made)

    def test_generate_name(self) -> None:
        """generateName becomes a name with a suffix."""
        body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": "many-"}}
        made = [self.ok(self.admin.call("POST", self.configmaps, body), 201) for _ in range(2)]
        names = self.names(made)
        self.assertEqual(len(set(names)), 2)
        for name in names:
            self.assertRegex(name, "^many-[a-z0-9]{5}$")

    def test_already_exists(self) -> None:
        """A taken name is 409 AlreadyExists."""
        self.create("one")
        status = self.failed(self.admin.call("POST", self.configmaps, configmap("one")), 409, "AlreadyExists")
        self.assertEqual(status["details"], {"name": "one", "kind": "configmaps"})
        self.assertEqual(status["message"], 'configmaps "one" already exists')

    def test_not_found(self) -> None:
        """Get, update, patch and delete of what is not there are 404."""
        path = f"{self.configmaps}/none"
        for method, body in (("GET", None), ("PUT", configmap("none")), ("DELETE", None)):
            status = self.failed(self.admin.call(method, path, body), 404, "NotFound")
            self.assertEqual(status["details"], {"name": "none", "kind": "configmaps"})
            self.assertEqual(status["message"], 'configmaps "none" not found')

    def test_group_in_details(self) -> None:
        """Failures name the resource with its group."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/none"
        status = self.failed(self.admin.call("GET", path), 404, "NotFound")
        self.assertEqual(status["message"], 'deployments.apps "none" not found')
        self.assertEqual(status["details"], {"name": "none", "group": "apps", "kind": "deployments"})

    def test_create_in_missing_namespace(self) -> None:
        """Nothing is created in a namespace that is not there."""
        path = "/api/v1/namespaces/nowhere-at-all/configmaps"
        status = self.failed(self.admin.call("POST", path, configmap("one")), 404, "NotFound")
        self.assertEqual(status["details"], {"name": "nowhere-at-all", "kind": "namespaces"})

    def test_create_refused(self) -> None:
        """Bodies that cannot be: wrong namespace, kind, version or not JSON."""
        other = configmap("one")
        other["metadata"]["namespace"] = "default"
        kind = {**configmap("one"), "kind": "Secret"}
        for body in (other, kind, b"{", b'{"kind": "ConfigMap", "apiVersion": "v1"'):
            self.failed(self.admin.call("POST", self.configmaps, body), 400, "BadRequest")
        versioned = configmap("one")
        versioned["metadata"]["resourceVersion"] = "5"
        # kube-apiserver calls this one a fault of its own.
        self.assertIn(self.admin.call("POST", self.configmaps, versioned).status, (400, 500))

    def test_invalid(self) -> None:
        """A bad or missing name is 422 with the field."""
        status = self.failed(self.admin.call("POST", self.configmaps, configmap("Not_Good")), 422, "Invalid")
        self.assertEqual((status["details"]["name"], status["details"]["kind"]), ("Not_Good", "ConfigMap"))
        (cause,) = status["details"]["causes"]
        self.assertEqual((cause["reason"], cause["field"]), ("FieldValueInvalid", "metadata.name"))
        self.assertIn("Invalid value", cause["message"])
        status = self.failed(self.admin.call("POST", self.configmaps, configmap("")), 422, "Invalid")
        self.assertEqual(status["details"]["causes"][0]["reason"], "FieldValueRequired")

    def test_method_not_allowed(self) -> None:
        """POST on an object's own path is 405."""
        self.failed(
            self.admin.call("POST", f"{self.configmaps}/one", configmap("one")), 405, "MethodNotAllowed"
        )

    def test_update(self) -> None:
        """An update from the latest version gets a higher one; from an older one it is 409."""
        first = self.create("one", a="1")
        path = f"{self.configmaps}/one"
        second = self.ok(self.admin.call("PUT", path, {**first, "data": {"a": "2"}}))
        self.assertGreater(
            int(second["metadata"]["resourceVersion"]), int(first["metadata"]["resourceVersion"])
        )
        self.assertEqual(second["metadata"]["uid"], first["metadata"]["uid"])
        status = self.failed(self.admin.call("PUT", path, {**first, "data": {"a": "3"}}), 409, "Conflict")
        self.assertEqual(
            status["message"],
            'Operation cannot be fulfilled on configmaps "one": the object has been modified; please apply '
            "your changes to the latest version and try again",
        )
        third = self.ok(self.admin.call("PUT", path, configmap("one", a="4")))
        self.assertEqual(third["data"], {"a": "4"})

    def test_update_without_change(self) -> None:
        """An update that changes nothing keeps the version."""
        made = self.create("one", a="1")
        again = self.ok(self.admin.call("PUT", f"{self.configmaps}/one", made))
        self.assertEqual(again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"])

    def test_update_of_another(self) -> None:
        """Body and path name the same object, uid included."""
        made = self.create("one")
        path = f"{self.configmaps}/one"
        self.failed(self.admin.call("PUT", path, configmap("two")), 400, "BadRequest")
        made["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
        self.failed(self.admin.call("PUT", path, made), 409, "Conflict")

    def test_delete(self) -> None:
        """Delete says what was deleted; preconditions hold it back."""
        made = self.create("one")
        path = f"{self.configmaps}/one"
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "wrong"}}
        self.failed(self.admin.call("DELETE", path, options), 409, "Conflict")
        status = self.ok(self.admin.call("DELETE", path))
        self.assertEqual((status["kind"], status["status"]), ("Status", "Success"))
        self.assertEqual(
            status["details"], {"name": "one", "kind": "configmaps", "uid": made["metadata"]["uid"]}
        )
        self.failed(self.admin.call("GET", path), 404, "NotFound")

    def test_finalizers(self) -> None:
        """An object with finalizers stays, marked, until the last is taken away."""
        body = configmap("one")
        body["metadata"]["finalizers"] = ["contract.test/hold"]
        self.ok(self.admin.call("POST", self.configmaps, body), 201)
        path = f"{self.configmaps}/one"
        self.ok(self.admin.call("DELETE", path))
        held = self.ok(self.admin.call("GET", path))
        self.assertTrue(held["metadata"]["deletionTimestamp"])
        held["metadata"]["finalizers"] = []
        self.ok(self.admin.call("PUT", path, held))
        self.failed(self.admin.call("GET", path), 404, "NotFound")

    def test_delete_collection(self) -> None:
        """What a selector chooses is deleted, the rest stays."""
        for name, app in (("a", "x"), ("b", "x"), ("c", "y")):
            self.create(name, {"app": app})
        self.ok(self.admin.call("DELETE", self.configmaps, labelSelector="app=x"))
        left = self.ok(self.admin.call("GET", self.configmaps, labelSelector="app"))["items"]
        self.assertEqual(self.names(left), ["c"])

    def test_dry_run(self) -> None:
        """A dry run answers and stores nothing."""
        self.ok(self.admin.call("POST", self.configmaps, configmap("one"), dryRun="All"), 201)
        self.failed(self.admin.call("GET", f"{self.configmaps}/one"), 404, "NotFound")
        made = self.create("two", a="1")
        changed = self.ok(
            self.admin.call("PUT", f"{self.configmaps}/two", {**made, "data": {}}, dryRun="All")
        )
        self.assertNotIn("data", {key for key, value in changed.items() if value})
        self.ok(self.admin.call("DELETE", f"{self.configmaps}/two", dryRun="All"))
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}
        self.ok(self.admin.call("DELETE", f"{self.configmaps}/two", options))
        self.assertEqual(self.ok(self.admin.call("GET", f"{self.configmaps}/two")), made)

    def test_namespaces(self) -> None:
        """A namespace is active and carries its name as a label; others do not see its objects."""
        found = self.ok(self.admin.call("GET", f"/api/v1/namespaces/{self.namespace}"))
        self.assertEqual(found["status"]["phase"], "Active")
        self.assertEqual(found["metadata"]["labels"]["kubernetes.io/metadata.name"], self.namespace)
        self.create("one", {"in": self.namespace})
        everywhere = self.ok(
            self.admin.call("GET", "/api/v1/configmaps", labelSelector=f"in={self.namespace}")
        )
        self.assertEqual(self.names(everywhere["items"]), ["one"])
        other = self.ok(self.admin.call("GET", "/api/v1/namespaces/default/configmaps"))
        self.assertNotIn("one", self.names(other["items"]))

    def test_status_subresource(self) -> None:
        """The main path keeps its hands off status, the status path off the rest."""
        deployments = f"/apis/apps/v1/namespaces/{self.namespace}/deployments"
        made = self.ok(self.admin.call("POST", deployments, deployment("web")), 201)
        self.assertEqual(made["metadata"]["generation"], 1)
        path = f"{deployments}/web"
        observed = {**made, "status": {"observedGeneration": 1}}
        self.assertFalse(self.ok(self.admin.call("PUT", path, observed)).get("status"))
        observed["spec"] = {**made["spec"], "replicas": 7}
        after = self.ok(self.admin.call("PUT", f"{path}/status", observed))
        self.assertEqual((after["status"]["observedGeneration"], after["spec"]["replicas"]), (1, 1))
        after["spec"]["replicas"] = 3
        after["status"] = {}
        scaled = self.ok(self.admin.call("PUT", path, after))
        self.assertEqual(scaled["metadata"]["generation"], 2)
        self.assertEqual(scaled["status"]["observedGeneration"], 1)

    def test_secret_and_service(self) -> None:
        """Text of a secret is encoded; a service gets an address."""
        secrets = f"/api/v1/namespaces/{self.namespace}/secrets"
        body = {
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": {"name": "s"},
            "stringData": {"key": "value"},
        }
        made = self.ok(self.admin.call("POST", secrets, body), 201)
        self.assertEqual((made["type"], made["data"]), ("Opaque", {"key": "dmFsdWU="}))
        self.assertNotIn("stringData", made)
        services = f"/api/v1/namespaces/{self.namespace}/services"
        spec = {"ports": [{"port": 80}], "selector": {"app": "x"}}
        body = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s"}, "spec": spec}
        found = self.ok(self.admin.call("POST", services, body), 201)["spec"]
        self.assertRegex(found["clusterIP"], r"^10\.96\.")
        self.assertEqual(found["ports"], [{"port": 80, "protocol": "TCP", "targetPort": 80}])


def deployment(name: str, **container: object) -> dict[str, Any]:
    """A Deployment of one container."""
    labels = {"app": name}
    containers = [{"name": "main", "image": "test.local/box:1", **container}]
    return {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }
