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
_PROPERTIES = {
    "colour": {"type": "string", "minLength": 1, "maxLength": 5},
    "watts": {"type": "integer", "minimum": 1, "default": 7},
    "mode": {"type": "string", "enum": ["a", "b"]},
    "mark": {"type": "string", "pattern": "^x+$"},
    "share": {"x-kubernetes-int-or-string": True},
    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "ports": {
        "type": "array",
        "maxItems": 2,
        "items": {"type": "object", "properties": {"number": {"type": "integer"}}},
    },
    "names": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}},
}
_TYPED = {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}}
_STATUS = {
    "type": "object",
    "properties": {
        "conditions": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {**_TYPED, "x-kubernetes-preserve-unknown-fields": True},
        },
        "rooms": {
            "type": "object",
            "x-kubernetes-map-type": "atomic",
            "additionalProperties": {"type": "string"},
        },
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    },
}
_REFUSALS = {
    "spec.colour": ("FieldValueTooLong", "Too long: may not be more than 5 bytes"),
    "spec.watts": (
        "FieldValueInvalid",
        "Invalid value: 0: spec.watts in body should be greater than or equal to 1",
    ),
    "spec.mode": ("FieldValueNotSupported", 'Unsupported value: "c": supported values: "a", "b"'),
    "spec.mark": ("FieldValueInvalid", "Invalid value: \"y\": spec.mark in body should match '^x+$'"),
    "spec.share": (
        "FieldValueTypeInvalid",
        'Invalid value: "array": spec.share in body must be of type integer,string: "array"',
    ),
    "spec.ports": ("FieldValueTooMany", "Too many: 3: must have at most 2 items"),
    "spec.ports[0].number": (
        "FieldValueTypeInvalid",
        'Invalid value: "string": spec.ports[0].number in body must be of type integer: "string"',
    ),
    "spec.names": ("FieldValueTooMany", "Too many: 2: must have at most 1 item"),
    "spec.names.a": (
        "FieldValueTypeInvalid",
        'Invalid value: "integer": spec.names.a in body must be of type string: "integer"',
    ),
}


class CustomResourceContract(ContractCase):
    """From a definition to its objects and back."""

    def define(self, properties: dict[str, Any] | None = None) -> str:
        """Define Lamps in a group of this test; the path of their API version.

        With ``properties``, the schema of their spec, other fields are unknown.
        """
        self.group = f"{self.namespace}.contract.test"
        name = f"lamps.{self.group}"
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        spec_schema = {"type": "object", "required": ["colour"], "properties": properties}
        structural = {"type": "object", "properties": {"spec": spec_schema, "status": _STATUS}}
        schema = structural if properties else anything
        version = {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
            "additionalPrinterColumns": [
                {"name": "Colour", "type": "string", "jsonPath": ".spec.colour"},
                {"name": "Lit", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Lit")].status'},
                {
                    "name": "Watts",
                    "type": "integer",
                    "format": "int32",
                    "priority": 1,
                    "description": "how much it takes",
                    "jsonPath": ".spec.watts",
                },
            ],
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
        _, colour, lit, watts = table["columnDefinitions"]
        about = {"type": "string", "format": "", "priority": 0}
        said = "Custom resource definition column (in JSONPath format): .spec.colour"
        self.assertEqual(colour, {"name": "Colour", "description": said, **about})
        self.assertEqual((lit["name"], lit["priority"]), ("Lit", 0))
        about = {"type": "integer", "format": "int32", "priority": 1}
        self.assertEqual(watts, {"name": "Watts", "description": "how much it takes", **about})
        self.assertEqual(table["rows"][0]["cells"], ["one", "red", None, None])
        conditions = [{"type": "Hot", "status": "Unknown"}, {"type": "Lit", "status": "True"}]
        patch = {"status": {"conditions": conditions}}
        self.ok(self.admin.call("PATCH", f"{lamps}/one/status", patch, content_type=MERGE_PATCH))
        self.ok(self.admin.call("PATCH", f"{lamps}/one", {"spec": {"watts": 3}}, content_type=MERGE_PATCH))
        table = self.ok(self.admin.call("GET", lamps, accept=TABLE))
        self.assertEqual(table["rows"][0]["cells"], ["one", "red", "True", 3])

    def test_schema(self) -> None:
        """What the schema does not know is dropped, with a warning; defaults are set; nulls are nothing."""
        lamps = f"{self.define(_PROPERTIES)}/namespaces/{self.namespace}/lamps"
        body = self.lamp("red")
        body["spec"] |= {"foo": 1, "mode": None, "free": {"a": {"b": 1}}, "ports": [{"number": 1, "bar": 2}]}
        answer = self.admin.call("POST", lamps, body)
        wanted = {"colour": "red", "watts": 7, "free": {"a": {"b": 1}}, "ports": [{"number": 1}]}
        self.assertEqual(self.ok(answer, 201)["spec"], wanted)
        for said in ("spec.foo", "spec.ports[0].bar"):
            self.assertIn(f'299 - "unknown field \\"{said}\\""', answer.headers["warning"])
        body["metadata"]["name"] = "two"
        status = self.failed(
            self.admin.call("POST", lamps, body, fieldValidation="Strict"), 400, "BadRequest"
        )
        said = 'unknown field "spec.foo", unknown field "spec.ports[0].bar"'
        self.assertIn(f"strict decoding error: {said}", status["message"])
        answer = self.admin.call("PATCH", f"{lamps}/one", {"spec": {"foo": 1}}, content_type=MERGE_PATCH)
        self.assertEqual(self.ok(answer)["metadata"]["generation"], 1)
        applied = {**self.lamp("red"), "spec": {"colour": "red", "foo": 1}}
        answer = self.admin.call(
            "PATCH", f"{lamps}/one", applied, content_type=APPLY_PATCH, fieldManager="m", force="true"
        )
        self.assertEqual(answer.status, 500)
        self.assertIn(".spec.foo: field not declared in schema", answer.json["message"])

    def test_values(self) -> None:
        """What the schema does not allow is refused, each field with its reason."""
        lamps = f"{self.define(_PROPERTIES)}/namespaces/{self.namespace}/lamps"
        wrong = {
            "watts": 0, "mode": "c", "ports": [{"number": "x"}, {}, {}], "names": {"a": 1, "b": "x"},
            "share": [], "mark": "y",
        }  # fmt: skip
        body = self.lamp("crimson")
        body["spec"] |= wrong
        status = self.failed(self.admin.call("POST", lamps, body), 422, "Invalid")
        found = {each["field"]: (each["reason"], each["message"]) for each in status["details"]["causes"]}
        self.assertEqual(found, _REFUSALS)
        self.ok(self.admin.call("POST", lamps, self.lamp("red")), 201)
        for spec, field, reason in (
            ({"watts": "3"}, "watts", "TypeInvalid"), ({"colour": None}, "colour", "Required"),
            ({"colour": ""}, "colour", "Invalid"),
        ):  # fmt: skip
            answer = self.admin.call("PATCH", f"{lamps}/one", {"spec": spec}, content_type=MERGE_PATCH)
            (cause,) = self.failed(answer, 422, "Invalid")["details"]["causes"]
            self.assertEqual((cause["field"], cause["reason"]), (f"spec.{field}", f"FieldValue{reason}"))

    def test_owners(self) -> None:
        """A list has one owner, unless the schema says how its items are told apart."""
        lamps = f"{self.define()}/namespaces/{self.namespace}/lamps"
        body = self.lamp("red")
        body["spec"]["containers"] = [{"name": "main", "image": "x"}]
        made = self.ok(self.admin.call("POST", lamps, body, fieldManager="alice"), 201)
        (entry,) = made["metadata"]["managedFields"]
        self.assertEqual(entry["fieldsV1"]["f:spec"]["f:containers"], {})

    def test_owners_by_the_schema(self) -> None:
        """Items of a keyed list and of a set have owners of their own, an atomic map has one."""
        lamps = f"{self.define(_PROPERTIES)}/namespaces/{self.namespace}/lamps"
        self.ok(self.admin.call("POST", lamps, {**self.lamp("red"), "metadata": {"name": "one"}}), 201)

        def tell(manager: str, **status: Any) -> Any:
            head = {key: value for key, value in self.lamp("red").items() if key != "spec"}
            body = {**head, "status": status}
            path = f"{lamps}/one/status"
            return self.admin.call(
                "PATCH", path, body, content_type=APPLY_PATCH, fieldManager=manager, force="true"
            )

        lit, hot = {"type": "Lit", "status": "True"}, {"type": "Hot", "status": "False"}
        self.ok(tell("alice", conditions=[lit], tags=["a"], rooms={"hall": "x"}))
        both = self.ok(tell("bob", conditions=[hot], tags=["b"], rooms={"attic": "y"}))
        self.assertEqual(
            both["status"], {"conditions": [lit, hot], "tags": ["a", "b"], "rooms": {"attic": "y"}}
        )
        entries = {each["manager"]: each["fieldsV1"] for each in both["metadata"]["managedFields"]}
        keyed: dict[str, Any] = {".": {}, "f:status": {}, "f:type": {}}
        conditions = {'k:{"type":"Lit"}': keyed}
        wanted = {"f:status": {"f:conditions": conditions, "f:tags": {'v:"a"': {}}}}
        self.assertEqual(entries["alice"], wanted)
        self.assertEqual(entries["bob"]["f:status"]["f:rooms"], {})
        left = self.ok(tell("alice"))["status"]
        self.assertEqual((left["conditions"], left["tags"]), ([hot], ["b"]))

    def test_end(self) -> None:
        """With the definition go the objects and the path."""
        path = self.define()
        lamps = f"{path}/namespaces/{self.namespace}/lamps"
        self.ok(self.admin.call("POST", lamps, self.lamp("red")), 201)
        self.ok(self.admin.call("DELETE", f"{_DEFINITIONS}/lamps.{self.group}"))
        self.wait(lambda: self.admin.call("GET", lamps).status == 404)
