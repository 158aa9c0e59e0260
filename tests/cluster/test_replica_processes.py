"""Three cloud ends as processes on a real API server, with the permissions of the manifest and no more."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.test_apiserver_contract import SKIP, shared
from tests.tunnel.replicas.test_processes import ReplicaProcesses

DEPLOY = Path(__file__).parents[2] / "deploy/kubernetes"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


class RealReplicaTests(ReplicaProcesses, SynchronousTestCase):
    patient = True
    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1":
        skip = SKIP

    def setUp(self) -> None:
        self.server = shared()
        self.kubeconfig = shared().directory / "replicas.kubeconfig"
        super().setUp()

    def permit(self) -> None:
        """As the manifest's service account, moved to this test's namespace."""
        here = f"namespaces/{self.namespace}"
        paths = {
            "ServiceAccount": f"/api/v1/{here}/serviceaccounts",
            "Role": f"{RBAC}/{here}/roles",
            "RoleBinding": f"{RBAC}/{here}/rolebindings",
            "ClusterRole": f"{RBAC}/clusterroles",
            "ClusterRoleBinding": f"{RBAC}/clusterrolebindings",
        }
        for item in self.documents("replicas.yaml"):
            if path := paths.get(item["kind"]):
                self.post(path, item)
                self.addCleanup(self.admin.call, "DELETE", f"{path}/{item['metadata']['name']}")
        account = f"/api/v1/{here}/serviceaccounts/superedge-cloud/token"
        token = self.post(account, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [
                        {
                            "name": "c",
                            "cluster": {
                                "server": self.server.url,
                                "certificate-authority": str(self.server.ca),
                            },
                        }
                    ],
                    "users": [{"name": "u", "user": {"token": token}}],
                }
            )
        )

    def documents(self, name: str) -> list[dict[str, Any]]:
        """A manifest, moved to this test's namespace."""
        text = (DEPLOY / name).read_text()
        moved = text.replace("namespace: superedge\n", f"namespace: {self.namespace}\n")
        return list(yaml.safe_load_all(moved))

    def post(self, path: str, item: object) -> Any:
        answer = self.admin.call("POST", path, item)
        self.assertIn(answer.status, (200, 201), answer.body)
        return answer.json

    def test_the_manifest_is_accepted(self) -> None:
        """Whole, by the real API server, which checks every field."""
        kinds = {
            "ConfigMap": "/api/v1/namespaces/{}/configmaps",
            "Service": "/api/v1/namespaces/{}/services",
            "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
            "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
        }
        seen = set()
        for name in ("cloud.yaml", "replicas.yaml"):
            for item in self.documents(name):
                if item["kind"] in kinds:
                    seen.add(item["kind"])
                    path = kinds[item["kind"]].format(self.namespace)
                    answer = self.admin.call("POST", path, item, dryRun="All", fieldValidation="Strict")
                    self.assertEqual(answer.status, 201, answer.body)
        self.assertEqual(seen, set(kinds))
