"""The CRDs and their manifest; the API server's own opinion of them is tests/cluster/test_grid.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from superedge.grid.cloud.crds import crds, manifest
from superedge.grid.cloud.grids import Grid
from superedge.grid.cloud.kinds import DEPLOYMENT_GRID, KINDS
from superedge.grid.cloud.schema import schema_of
from superedge.grid.cloud.types import LABEL_KEY

MANIFEST = Path(__file__).parents[2] / "deploy/kubernetes/grid-crds.yaml"
CLIENT_SIDE_APPLY = 262_144


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema."""
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from fields(each, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if part in schema:
            yield from fields(schema[part], f"{path}[]")


class CRDTests(SynchronousTestCase):
    def test_the_manifest_is_what_the_types_say(self) -> None:
        self.assertEqual(MANIFEST.read_text(), manifest())

    def test_they_are_small_enough_for_client_side_apply(self) -> None:
        for crd in crds():
            self.assertLess(len(json.dumps(crd)), CLIENT_SIDE_APPLY // 8)

    def test_every_field_is_described(self) -> None:
        for crd in crds():
            schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            for path, each in fields(schema):
                if not path.endswith("[]") and path != ".metadata":
                    self.assertTrue(each.get("description"), f"{crd['metadata']['name']} {path}")
                    self.assertNotIn("{", each["description"])

    def test_templates_keep_what_the_schema_does_not_know(self) -> None:
        for crd in crds():
            schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            spec = schema["properties"]["spec"]["properties"]
            templates = [spec["template"]]
            if "templatePool" in spec:
                templates += [
                    spec["templatePool"]["additionalProperties"],
                    spec["template"]["properties"]["template"],
                ]
            for each in templates:
                self.assertTrue(each["x-kubernetes-preserve-unknown-fields"])

    def test_what_the_controller_merges_into_has_types(self) -> None:
        """Anything but a map of texts is refused, and the pods' other fields are kept."""
        for crd in crds()[:2]:
            schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            spec = schema["properties"]["spec"]["properties"]
            for each in (spec["template"], spec["templatePool"]["additionalProperties"]):
                there = dict(fields(each))
                for path in (
                    ".selector.matchLabels",
                    ".template.metadata.labels",
                    ".template.spec.nodeSelector",
                ):
                    self.assertEqual(there[path]["type"], "object")
                    self.assertEqual(there[f"{path}[]"]["type"], "string")
                for path in (".selector", ".template.metadata", ".template.spec"):
                    self.assertTrue(there[path]["x-kubernetes-preserve-unknown-fields"])

    def test_they_have_status_and_short_names(self) -> None:
        for crd, kind in zip(crds(), KINDS, strict=True):
            self.assertEqual(crd["spec"]["names"]["shortNames"], [kind.short])
            self.assertEqual(crd["spec"]["versions"][0]["subresources"], {"status": {}})

    def test_the_keys_of_labels(self) -> None:
        for key in ("zone", "Zone_1.a", "x" * 63, "example.com/zone", "a-b.c/1", f"{'a' * 70}.io/z"):
            self.assertRegex(key, LABEL_KEY)
        for key in ("", "a b", "a/b/c", "/a", "a/", "-a", "a-", "x" * 64, "a..b/z", "a-.b/z", "A.io/z", "ä"):
            self.assertNotRegex(key, LABEL_KEY)

    def test_a_type_without_a_structural_schema(self) -> None:
        class Odd(msgspec.Struct):
            number: float

        self.assertRaises(TypeError, schema_of, Odd)


class ReadingTests(SynchronousTestCase):
    def test_a_status_of_the_go_superedge(self) -> None:
        raw = {
            "metadata": {"name": "shop", "namespace": "x"},
            "spec": {"gridUniqKey": "zone", "template": {}, "defaultTemplateName": "default"},
            "status": {"states": {"a": {"replicas": 2, "conditions": [{"type": "Available"}]}}},
        }
        grid = Grid(DEPLOYMENT_GRID, json.dumps(raw).encode())
        self.assertEqual((grid.default_name, grid.status.states["a"].replicas), ("default", 2))
