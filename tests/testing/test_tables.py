from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.testing import tables
from superedge.testing.representation import negotiate
from superedge.testing.resources import Registry, Resource, custom
from superedge.testing.status import APIError

BORN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def made(**more: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}, **more}


def resource(plural: str) -> Resource:
    found = Registry().find("", "v1", plural)
    assert found is not None
    return found


class AgeTests(SynchronousTestCase):
    def test_spans(self) -> None:
        for seconds, wanted in (
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (599, "9m59s"),
            (3600, "60m"),
            (3 * 3600, "3h"),
            (5 * 3600 + 60, "5h1m"),
            (47 * 3600, "47h"),
            (3 * 86400, "3d"),
            (3 * 86400 + 3600, "3d1h"),
            (9 * 86400, "9d"),
            (800 * 86400, "2y70d"),
        ):
            self.assertEqual(tables.age(made(), BORN + seconds), wanted)

    def test_unknown_and_future(self) -> None:
        self.assertEqual(tables.age({"metadata": {}}, BORN), "<unknown>")
        self.assertEqual(tables.age(made(), BORN - 1), "0s")
        self.assertEqual(tables.age(made(), BORN - 5), "<invalid>")


class RowTests(SynchronousTestCase):
    def cells(self, plural: str, item: dict[str, Any]) -> list[Any]:
        row = tables.row(resource(plural), item, BORN, "None")
        self.assertEqual(len(row["cells"]), len(tables.columns(resource(plural))))
        return list(row["cells"])

    def test_pod(self) -> None:
        waiting = {"ready": False, "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
        pod = made(
            spec={"containers": [{}, {}], "nodeName": "n"},
            status={"phase": "Running", "containerStatuses": [{"ready": True, "restartCount": 1}, waiting]},
        )
        self.assertEqual(self.cells("pods", pod)[:5], ["x", "1/2", "CrashLoopBackOff", "3", "0s"])
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self.assertEqual(self.cells("pods", pod)[2], "Terminating")

    def test_node(self) -> None:
        node = made(
            spec={"unschedulable": True},
            status={
                "conditions": [{"type": "Ready", "status": "False"}],
                "nodeInfo": {"kubeletVersion": "v1"},
            },
        )
        node["metadata"]["labels"] = {"node-role.kubernetes.io/edge": ""}
        self.assertEqual(self.cells("nodes", node)[1:5], ["NotReady,SchedulingDisabled", "edge", "0s", "v1"])

    @settings(max_examples=30)
    @given(st.sampled_from(["pods", "nodes", "services", "namespaces", "configmaps", "secrets", "events"]))
    def test_bare_objects_have_a_row(self, plural: str) -> None:
        self.assertTrue(self.cells(plural, {"metadata": {"name": "x"}}))

    def test_custom_columns(self) -> None:
        version = {
            "name": "v1",
            "storage": True,
            "additionalPrinterColumns": [
                {"name": "First", "type": "string", "jsonPath": ".spec.list[0].name"},
                {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            ],
        }
        names = {"plural": "lamps", "kind": "Lamp"}
        spec = {"group": "g", "scope": "Namespaced", "names": names, "versions": [version]}
        (lamps,) = custom({"spec": spec})
        names_of_columns = [column["name"] for column in tables.columns(lamps)]
        self.assertEqual(names_of_columns, ["Name", "First", "Since"])
        row = tables.row(lamps, made(spec={"list": [{"name": "one"}]}), BORN + 5, "None")
        self.assertEqual(row["cells"], ["x", "one", "5s"])
        self.assertEqual(tables.row(lamps, made(), BORN, "None")["cells"], ["x", None, "0s"])


class NegotiateTests(SynchronousTestCase):
    def test_forms(self) -> None:
        suffix = ";v=v1;g=meta.k8s.io"
        for accept, wanted in (
            ("", "object"),
            ("*/*", "object"),
            (f"application/json;as=Table{suffix},application/json", "table"),
            (f"application/json;as=PartialObjectMetadataList{suffix}", "partial"),
            (f"application/vnd.kubernetes.protobuf;as=Table{suffix},application/json", "object"),
            (f"application/json;as=What{suffix},application/json", "object"),
        ):
            self.assertEqual(negotiate(accept), wanted, accept)
        problem = self.assertRaises(APIError, negotiate, "application/vnd.kubernetes.protobuf")
        self.assertEqual(problem.code, 406)
