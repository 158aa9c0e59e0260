"""The contract's part on lists: selectors, versions, pages."""

from __future__ import annotations

from typing import Any

from superedge.testing.contracts.case import ContractCase


class ListContract(ContractCase):
    """LIST by its query parameters."""

    def _list(self, **query: Any) -> Any:
        return self.ok(self.admin.call("GET", self.configmaps, **query))

    def _listed(self, **query: Any) -> list[str]:
        # A real namespace also has the kube-root-ca.crt that a controller puts there.
        return [name for name in self.names(self._list(**query)["items"]) if name != "kube-root-ca.crt"]

    def test_list(self) -> None:
        """A list has a version, and items by name that do not repeat their kind."""
        for name in ("b", "c", "a"):
            self.create(name)
        found = self._list()
        self.assertEqual((found["kind"], found["apiVersion"]), ("ConfigMapList", "v1"))
        self.assertEqual(self._listed(), ["a", "b", "c"])
        self.assertFalse([item for item in found["items"] if "kind" in item or "apiVersion" in item])
        newest = max(int(item["metadata"]["resourceVersion"]) for item in found["items"])
        self.assertGreaterEqual(int(found["metadata"]["resourceVersion"]), newest)

    def test_label_selectors(self) -> None:
        """All forms of label selectors."""
        self.create("a", {"app": "x", "tier": "front"})
        self.create("b", {"app": "y"})
        self.create("c", {"tier": "back"})
        for selector, wanted in {
            "app=x": ["a"],
            "app==x": ["a"],
            "app!=x,tier": ["c"],
            "app in (x, y)": ["a", "b"],
            "app notin (x),app": ["b"],
            "app": ["a", "b"],
            "!app,tier": ["c"],
            "app=x,tier=front": ["a"],
            "app=x,tier=back": [],
        }.items():
            self.assertEqual(self._listed(labelSelector=selector), wanted, selector)
        for broken in ("app=x,,", "app in", "=x", "app in (x"):
            answer = self.admin.call("GET", self.configmaps, labelSelector=broken)
            self.failed(answer, 400, "BadRequest")

    def test_field_selectors(self) -> None:
        """Names can be selected; fields that a resource does not offer are refused."""
        self.create("a")
        self.create("b")
        self.assertEqual(self._listed(fieldSelector="metadata.name=a"), ["a"])
        self.assertEqual(self._listed(fieldSelector="metadata.name!=a"), ["b"])
        self.assertEqual(self._listed(fieldSelector=f"metadata.namespace={self.namespace}"), ["a", "b"])
        self.failed(self.admin.call("GET", self.configmaps, fieldSelector="data.x=1"), 400, "BadRequest")

    def test_pods_of_a_node(self) -> None:
        """Kubelets select their pods by spec.nodeName."""
        root = f"/api/v1/namespaces/{self.namespace}"
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
        self.admin.call("POST", f"{root}/serviceaccounts", account)
        for name in ("one", "two"):
            spec = {
                "nodeName": f"node-{name}",
                "automountServiceAccountToken": False,
                "containers": [{"name": "main", "image": "test.local/box:1"}],
            }
            body = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}
            made = self.ok(self.admin.call("POST", f"{root}/pods", body), 201)
            self.assertEqual(made["status"]["phase"], "Pending")
            self.addCleanup(self.admin.call, "DELETE", f"{root}/pods/{name}", {"gracePeriodSeconds": 0})
        found = self.ok(self.admin.call("GET", f"{root}/pods", fieldSelector="spec.nodeName=node-two"))
        self.assertEqual(self.names(found["items"]), ["two"])
        phase = "status.phase=Pending,spec.nodeName!=node-two"
        found = self.ok(self.admin.call("GET", f"{root}/pods", fieldSelector=phase))
        self.assertEqual(self.names(found["items"]), ["one"])

    def test_pages(self) -> None:
        """Pages of one list show one moment, whatever happens in between."""
        for name in "abcde":
            self.create(name, {"paged": "yes"})
        first = self._list(limit=2)
        wanted = self.names(self._list()["items"])
        self.assertEqual(len(first["items"]), 2)
        self.assertEqual(first["metadata"]["remainingItemCount"], len(wanted) - 2)
        self.ok(self.admin.call("DELETE", f"{self.configmaps}/e"))
        self.create("cc")
        seen, page = self.names(first["items"]), first
        while page["metadata"].get("continue"):
            page = self._list(limit=2, **{"continue": page["metadata"]["continue"]})
            seen += self.names(page["items"])
            self.assertEqual(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"])
        self.assertEqual(seen, wanted)

    def test_pages_of_a_selection(self) -> None:
        """Pages count what is selected; how much is left is not said."""
        for name, app in (("a", "x"), ("b", "y"), ("c", "x"), ("d", "x")):
            self.create(name, {"app": app})
        first = self._list(limit=2, labelSelector="app=x")
        self.assertEqual(self.names(first["items"]), ["a", "c"])
        self.assertNotIn("remainingItemCount", first["metadata"])
        token = first["metadata"]["continue"]
        self.assertEqual(self._listed(limit=2, labelSelector="app=x", **{"continue": token}), ["d"])

    def test_bad_continue(self) -> None:
        """A token that the server did not make is 400."""
        for token in ("nonsense", "e30"):
            more: dict[str, Any] = {"limit": 1, "continue": token}
            answer = self.admin.call("GET", self.configmaps, **more)
            self.failed(answer, 400, "BadRequest")

    def test_past_and_at_least(self) -> None:
        """Exact shows the past, NotOlderThan what is there now, 0 anything."""
        self.create("a")
        version = self._list()["metadata"]["resourceVersion"]
        self.create("b")
        exact = self._list(resourceVersion=version, resourceVersionMatch="Exact")
        self.assertEqual(exact["metadata"]["resourceVersion"], version)
        self.assertNotIn("b", self.names(exact["items"]))
        now = self._list(resourceVersion=version, resourceVersionMatch="NotOlderThan")
        self.assertGreaterEqual(int(now["metadata"]["resourceVersion"]), int(version))
        self.assertEqual(self._listed(), ["a", "b"])
        self.assertIn("a", self._listed(resourceVersion="0"))

    def test_versions_refused(self) -> None:
        """What is not a version, or does not go with its match."""
        refused: list[tuple[dict[str, Any], int, str]] = [
            ({"resourceVersion": "abc"}, 400, "BadRequest"),
            ({"resourceVersionMatch": "Exact"}, 422, "Invalid"),
            ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, 422, "Invalid"),
            ({"resourceVersionMatch": "Other", "resourceVersion": "1"}, 422, "Invalid"),
        ]
        for query, code, reason in refused:
            answer = self.admin.call("GET", self.configmaps, **query)
            self.failed(answer, code, reason)

    def test_future(self) -> None:
        """A version that is not there yet is 504 with a cause that clients know."""
        version = str(int(self._list()["metadata"]["resourceVersion"]) + 1_000_000)
        status = self.failed(self.admin.call("GET", self.configmaps, resourceVersion=version), 504, "Timeout")
        self.assertEqual(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge")
        self.assertIn("Too large resource version", status["message"])

    def test_expired(self) -> None:
        """Once history is forgotten, its versions and tokens are 410; the token offered instead works."""
        for name in "abc":
            self.create(name)
        page = self._list(limit=1)
        token, version = page["metadata"]["continue"], page["metadata"]["resourceVersion"]
        self.create("d")
        self.server.compact()
        exact: dict[str, Any] = {"resourceVersion": version, "resourceVersionMatch": "Exact"}
        self.wait(lambda: self.admin.call("GET", self.configmaps, **exact).status == 410)
        self.failed(self.admin.call("GET", self.configmaps, **exact), 410, "Expired")
        answer = self.admin.call("GET", self.configmaps, limit=1, **{"continue": token})
        status = self.failed(answer, 410, "Expired")
        rest = self._list(**{"continue": status["metadata"]["continue"]})
        self.assertIn("d", self.names(rest["items"]))
        self.assertNotIn("a", self.names(rest["items"]))
