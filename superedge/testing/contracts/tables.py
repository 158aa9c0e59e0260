"""The contract's part on other forms of an answer: Table and PartialObjectMetadata."""

from __future__ import annotations

from typing import Any

from superedge.testing.contracts.case import ContractCase
from superedge.testing.contracts.client import PARTIAL, PARTIAL_LIST, TABLE


class TableContract(ContractCase):
    """What Accept asks for."""

    def test_table(self) -> None:
        """Columns, and a row with cells and the object's metadata."""
        self.create("one", a="1", b="2")
        query: dict[str, Any] = {"fieldSelector": "metadata.name=one"}
        table = self.ok(self.admin.call("GET", self.configmaps, accept=TABLE, **query))
        self.assertEqual((table["kind"], table["apiVersion"]), ("Table", "meta.k8s.io/v1"))
        self.assertTrue(table["metadata"]["resourceVersion"].isdigit())
        names = [column["name"] for column in table["columnDefinitions"]]
        self.assertEqual(names, ["Name", "Data", "Age"])
        self.assertEqual(table["columnDefinitions"][0]["format"], "name")
        (row,) = table["rows"]
        self.assertEqual(row["cells"][:2], ["one", 2])
        self.assertRegex(row["cells"][2], r"^\d+s$")
        self.assertEqual(row["object"]["kind"], "PartialObjectMetadata")
        self.assertEqual(row["object"]["metadata"]["name"], "one")

    def test_included_object(self) -> None:
        """includeObject says what comes with a row."""
        self.create("one", a="1")
        path = f"{self.configmaps}/one"
        (row,) = self.ok(self.admin.call("GET", path, accept=TABLE, includeObject="Object"))["rows"]
        self.assertEqual((row["object"]["kind"], row["object"]["data"]), ("ConfigMap", {"a": "1"}))
        (row,) = self.ok(self.admin.call("GET", path, accept=TABLE, includeObject="None"))["rows"]
        self.assertIsNone(row.get("object"))

    def test_columns_of_pods_and_nodes(self) -> None:
        """The columns that people know from kubectl, wide ones with a priority."""
        for path, wanted in (
            ("/api/v1/pods", ["Name", "Ready", "Status", "Restarts", "Age"]),
            ("/api/v1/nodes", ["Name", "Status", "Roles", "Age", "Version"]),
            ("/api/v1/services", ["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age"]),
            ("/apis/apps/v1/deployments", ["Name", "Ready", "Up-to-date", "Available", "Age"]),
            ("/api/v1/namespaces", ["Name", "Status", "Age"]),
            ("/api/v1/secrets", ["Name", "Type", "Data", "Age"]),
        ):
            columns = self.ok(self.admin.call("GET", path, accept=TABLE))["columnDefinitions"]
            narrow = [column["name"] for column in columns if column["priority"] == 0]
            self.assertEqual(narrow, wanted, path)

    def test_watched_table(self) -> None:
        """Events of a watch are tables of one row; columns come once."""
        self.create("one", {"app": "x"})
        query: dict[str, Any] = {"labelSelector": "app=x"}
        with self.admin.watch(self.configmaps, accept=TABLE, **query) as watch:
            kind, first = watch.next()
            self.create("two", {"app": "x"})
            _, second = watch.next()
        self.assertEqual((kind, first["kind"], first["rows"][0]["cells"][0]), ("ADDED", "Table", "one"))
        self.assertTrue(first["columnDefinitions"])
        self.assertFalse(second["columnDefinitions"])
        self.assertEqual(second["rows"][0]["cells"][0], "two")

    def test_partial(self) -> None:
        """Only metadata of one object, of a list, of a watch."""
        made = self.create("one", {"app": "x"}, a="1")
        one = self.ok(self.admin.call("GET", f"{self.configmaps}/one", accept=PARTIAL))
        wanted = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
        self.assertEqual(one, wanted | {"metadata": made["metadata"]})
        answer = self.admin.call("GET", self.configmaps, accept=PARTIAL_LIST, labelSelector="app=x")
        listed = self.ok(answer)
        self.assertEqual(
            (listed["kind"], listed["apiVersion"]), ("PartialObjectMetadataList", "meta.k8s.io/v1")
        )
        self.assertEqual(self.names(listed["items"]), ["one"])
        with self.admin.watch(self.configmaps, accept=PARTIAL, labelSelector="app=x") as watch:
            self.assertEqual(watch.next(), ("ADDED", one))

    def test_preference(self) -> None:
        """The first form in Accept that can be had is used; none is 406."""
        accept = f"application/json;as=Nothing;v=v1;g=meta.k8s.io,{TABLE},application/json"
        self.assertEqual(self.ok(self.admin.call("GET", self.configmaps, accept=accept))["kind"], "Table")
        answer = self.admin.call("GET", self.configmaps, accept="image/png")
        self.failed(answer, 406, "NotAcceptable")
