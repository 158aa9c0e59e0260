"""The contract's part on PATCH: merge, JSON, strategic merge, server-side apply."""

from __future__ import annotations

from typing import Any

from superedge.testing.contracts.case import ContractCase, configmap
from superedge.testing.contracts.client import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Answer,
)
from superedge.testing.contracts.objects import deployment


class PatchContract(ContractCase):
    """PATCH by its content type."""

    def _patch(self, kind: str, body: Any, name: str = "one", **query: Any) -> Answer:
        return self.admin.call("PATCH", f"{self.configmaps}/{name}", body, content_type=kind, **query)

    def test_merge(self) -> None:
        """Objects merge and null deletes."""
        self.create("one", a="1", b="2")
        patched = self.ok(self._patch(MERGE_PATCH, {"data": {"a": None, "c": "3"}}))
        self.assertEqual(patched["data"], {"b": "2", "c": "3"})

    def test_json(self) -> None:
        """Operations in order; one that does not fit refuses all."""
        self.create("one", a="1")
        good = [
            {"op": "test", "path": "/data/a", "value": "1"},
            {"op": "add", "path": "/metadata/annotations", "value": {}},
            {"op": "add", "path": "/metadata/annotations/contract.test~1x", "value": "2"},
            {"op": "remove", "path": "/data/a"},
        ]
        patched = self.ok(self._patch(JSON_PATCH, good))
        self.assertEqual(patched["metadata"]["annotations"], {"contract.test/x": "2"})
        self.assertFalse(patched.get("data"))
        bad = [{"op": "add", "path": "/data", "value": {}}, {"op": "remove", "path": "/data/none"}]
        self.failed(self._patch(JSON_PATCH, bad), 422, "Invalid")
        self.assertEqual(self.ok(self.admin.call("GET", f"{self.configmaps}/one")), patched)

    def test_strategic(self) -> None:
        """Well-known lists merge by their key."""
        deployments = f"/apis/apps/v1/namespaces/{self.namespace}/deployments"
        body = deployment("web", env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])
        self.ok(self.admin.call("POST", deployments, body), 201)
        env = [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}, {"name": "A", "$patch": "delete"}]
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "env": env}]}}}}
        answer = self.admin.call("PATCH", f"{deployments}/web", patch, content_type=STRATEGIC_PATCH)
        (container,) = self.ok(answer)["spec"]["template"]["spec"]["containers"]
        self.assertEqual(container["image"], "test.local/box:1")
        found = {each["name"]: each["value"] for each in container["env"]}
        self.assertEqual(found, {"B": "3", "C": "4"})

    def test_refused(self) -> None:
        """Missing objects, unknown formats, stale versions."""
        self.failed(self._patch(MERGE_PATCH, {}, "none"), 404, "NotFound")
        self.create("one")
        self.failed(self._patch("application/json", {}), 415, "UnsupportedMediaType")
        stale = {"metadata": {"resourceVersion": "1"}, "data": {"a": "1"}}
        self.failed(self._patch(MERGE_PATCH, stale), 409, "Conflict")
        self.failed(self._patch(MERGE_PATCH, b"{"), 400, "BadRequest")

    def _apply(self, manager: str, data: dict[str, str], force: bool = False) -> Answer:
        query = {"fieldManager": manager} | ({"force": "true"} if force else {})
        return self._patch(APPLY_PATCH, configmap("one", None, **data), **query)

    def test_apply_creates(self) -> None:
        """Applying what is not there creates it, owned by the manager."""
        made = self.ok(self._apply("alice", {"a": "1"}), 201)
        (owner,) = made["metadata"]["managedFields"]
        self.assertEqual((owner["manager"], owner["operation"]), ("alice", "Apply"))
        self.assertEqual(owner["fieldsV1"], {"f:data": {"f:a": {}}})
        again = self.ok(self._apply("alice", {"a": "1"}))
        self.assertEqual(again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"])

    def test_apply_conflict(self) -> None:
        """Another manager's field is a conflict until forced."""
        self.ok(self._apply("alice", {"a": "1"}), 201)
        status = self.failed(self._apply("bob", {"a": "2"}), 409, "Conflict")
        (cause,) = status["details"]["causes"]
        self.assertEqual((cause["reason"], cause["field"]), ("FieldManagerConflict", ".data.a"))
        self.assertEqual(cause["message"], 'conflict with "alice"')
        self.assertEqual(status["message"], 'Apply failed with 1 conflict: conflict with "alice": .data.a')
        forced = self.ok(self._apply("bob", {"a": "2"}, force=True))
        self.assertEqual(forced["data"], {"a": "2"})
        self.assertEqual([owner["manager"] for owner in forced["metadata"]["managedFields"]], ["bob"])

    def test_apply_shared_and_given_up(self) -> None:
        """Equal values are shared; what the last owner gives up is removed."""
        self.ok(self._apply("alice", {"a": "1", "b": "2"}), 201)
        self.ok(self._apply("bob", {"a": "1"}))
        self.assertEqual(self.ok(self._apply("alice", {"b": "2"}))["data"], {"a": "1", "b": "2"})
        self.assertEqual(self.ok(self._apply("bob", {}))["data"], {"b": "2"})

    def test_apply_after_update(self) -> None:
        """What somebody wrote with an update is theirs."""
        self.create("one", a="1")
        status = self.failed(self._apply("alice", {"a": "2"}), 409, "Conflict")
        self.assertEqual(status["details"]["causes"][0]["message"], 'conflict with "contract" using v1')

    def test_apply_keyed_lists(self) -> None:
        """Managers own items of keyed lists one by one."""
        deployments = f"/apis/apps/v1/namespaces/{self.namespace}/deployments"

        def apply(manager: str, body: Any, status: int) -> Any:
            query: dict[str, Any] = {"content_type": APPLY_PATCH, "fieldManager": manager}
            return self.ok(self.admin.call("PATCH", f"{deployments}/web", body, **query), status)

        apply("alice", deployment("web", env=[{"name": "A", "value": "1"}]), 201)
        other = deployment("web", env=[{"name": "B", "value": "2"}])
        env = apply("bob", other, 200)["spec"]["template"]["spec"]["containers"][0]["env"]
        self.assertEqual({each["name"] for each in env}, {"A", "B"})
        env = apply("alice", deployment("web"), 200)["spec"]["template"]["spec"]["containers"][0]["env"]
        self.assertEqual([each["name"] for each in env], ["B"])

    def test_apply_refused(self) -> None:
        """A manager is required, and the body says nothing of managers."""
        answer = self._patch(APPLY_PATCH, configmap("one"))
        self.assertIn(answer.status, (400, 422), answer.body)
        body = configmap("one")
        body["metadata"]["managedFields"] = [
            {
                "manager": "x",
                "operation": "Apply",
                "apiVersion": "v1",
                "fieldsType": "FieldsV1",
                "fieldsV1": {},
            }
        ]
        self.failed(self._patch(APPLY_PATCH, body, fieldManager="alice"), 400, "BadRequest")
