"""The contract's part on CustomResourceDefinitions and what they define."""

from __future__ import annotations

from typing import Any

from superedge.testing.contracts.case import ContractCase
from superedge.testing.contracts.client import (
    APPLY_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    TABLE,
)

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class CustomResourceContract(ContractCase):
    """From a definition to its objects and back."""

    def define(self) -> str:
        """Define Lamps in a group of this test; the path of their API version."""
        self.group = f"{self.namespace}.contract.test"
        name = f"lamps.{self.group}"
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "Colour", "type": "string", "jsonPath": ".spec.colour"}],
        }
        names = {"plural": "lamps", "kind": "Lamp", "shortNames": ["lp"]}
        spec = {"group": self.group, "scope": "Namespaced", "names": names, "versions": [version]}
        body = {
            "kind": "CustomResourceDefinition",
            "apiVersion": "apiextensions.k8s.io/v1",
            "metadata": {"name": name},
            "spec": spec,
        }
        self.ok(self.admin.call("POST", _DEFINITIONS, body), 201)
        self.addCleanup(self.admin.call, "DELETE", f"{_DEFINITIONS}/{name}")
        path = f"/apis/{self.group}/v1"

        def established() -> bool:
            found = self.ok(self.admin.call("GET", f"{_DEFINITIONS}/{name}"))
            conditions = {each["type"]: each["status"] for each in found["status"]["conditions"] or ()}
            lamps = f"{path}/namespaces/{self.namespace}/lamps"
            return conditions.get("Established") == "True" and self.admin.call("GET", lamps).status == 200

        self.wait(lambda: self._status_of(name) and established())
        return path

    def _status_of(self, name: str) -> Any:
        return self.ok(self.admin.call("GET", f"{_DEFINITIONS}/{name}")).get("status")

    def lamp(self, colour: str, **metadata: object) -> Any:
        """A Lamp."""
        head = {"kind": "Lamp", "apiVersion": f"{self.group}/v1"}
        return head | {"metadata": {"name": "one", **metadata}, "spec": {"colour": colour}}

    def test_discovery(self) -> None:
        """The new resource is listed."""
        path = self.define()
        resources = {each["name"]: each for each in self.ok(self.admin.call("GET", path))["resources"]}
        self.assertEqual(resources["lamps"]["kind"], "Lamp")
        self.assertEqual(
            (resources["lamps"]["shortNames"], resources["lamps"]["singularName"]), (["lp"], "lamp")
        )
        self.assertIn("lamps/status", resources)

    def test_objects(self) -> None:
        """Custom objects behave like others; updates need a version."""
        lamps = f"{self.define()}/namespaces/{self.namespace}/lamps"
        made = self.ok(self.admin.call("POST", lamps, self.lamp("red")), 201)
        self.assertEqual(made["metadata"]["generation"], 1)
        listed = self.ok(self.admin.call("GET", lamps))
        self.assertEqual((listed["kind"], listed["items"]), ("LampList", [made]))
        status = self.failed(self.admin.call("PUT", f"{lamps}/one", self.lamp("blue")), 422, "Invalid")
        self.assertEqual(status["details"]["causes"][0]["field"], "metadata.resourceVersion")
        version = made["metadata"]["resourceVersion"]
        blue = self.ok(self.admin.call("PUT", f"{lamps}/one", self.lamp("blue", resourceVersion=version)))
        self.assertEqual((blue["metadata"]["generation"], blue["spec"]["colour"]), (2, "blue"))
        with self.admin.watch(lamps, resourceVersion=version) as watch:
            self.assertEqual(watch.next(), ("MODIFIED", blue))

    def test_status(self) -> None:
        """Status is a path of its own and does not count as a change of spec."""
        lamps = f"{self.define()}/namespaces/{self.namespace}/lamps"
        made = self.ok(self.admin.call("POST", lamps, {**self.lamp("red"), "status": {"lit": True}}), 201)
        self.assertNotIn("status", made)
        lit = self.ok(self.admin.call("PUT", f"{lamps}/one/status", {**made, "status": {"lit": True}}))
        self.assertEqual((lit["status"], lit["metadata"]["generation"]), ({"lit": True}, 1))

    def test_patches(self) -> None:
        """Merge and apply work; strategic merge needs a type that the server was built with."""
        lamps = f"{self.define()}/namespaces/{self.namespace}/lamps"
        made = self.admin.call(
            "PATCH", f"{lamps}/one", self.lamp("red"), content_type=APPLY_PATCH, fieldManager="alice"
        )
        self.ok(made, 201)
        patch = {"spec": {"colour": "green", "watts": 3}}
        merged = self.admin.call("PATCH", f"{lamps}/one", patch, content_type=MERGE_PATCH)
        self.assertEqual(self.ok(merged)["spec"], patch["spec"])
        answer = self.admin.call("PATCH", f"{lamps}/one", patch, content_type=STRATEGIC_PATCH)
        self.failed(answer, 415, "UnsupportedMediaType")

    def test_columns(self) -> None:
        """The definition's columns are in the table."""
        lamps = f"{self.define()}/namespaces/{self.namespace}/lamps"
        self.ok(self.admin.call("POST", lamps, self.lamp("red")), 201)
        table = self.ok(self.admin.call("GET", lamps, accept=TABLE))
        self.assertEqual([column["name"] for column in table["columnDefinitions"]], ["Name", "Colour"])
        self.assertEqual(table["rows"][0]["cells"], ["one", "red"])

    def test_end(self) -> None:
        """With the definition go the objects and the path."""
        path = self.define()
        lamps = f"{path}/namespaces/{self.namespace}/lamps"
        self.ok(self.admin.call("POST", lamps, self.lamp("red")), 201)
        self.ok(self.admin.call("DELETE", f"{_DEFINITIONS}/lamps.{self.group}"))
        self.wait(lambda: self.admin.call("GET", lamps).status == 404)
