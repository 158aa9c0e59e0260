"""kubectl, and what stories ask of a cluster's objects."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cluster.environment import wait_until
from tests.controlplane.cluster import Cluster


class ClusterObjects:
    """Reads and writes objects of ``cluster``; kubectl's cache is under ``directory``."""

    directory: Path
    cluster: Cluster

    def try_kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        program = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
        command = [
            program,
            f"--kubeconfig={self.cluster.directory / 'admin.kubeconfig'}",
            f"--cache-dir={self.directory}/kubectl",
            *arguments,
        ]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=90, check=False)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        done = self.try_kubectl(*arguments, stdin=stdin)
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "-o", "json", *arguments))
        return found

    def node(self, name: str) -> dict[str, Any]:
        done = self.try_kubectl("get", "node", name, "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def condition(self, name: str, kind: str) -> str:
        conditions = self.node(name).get("status", {}).get("conditions", [])
        return next((str(each["status"]) for each in conditions if each["type"] == kind), "")

    def ready(self, name: str) -> str:
        return self.condition(name, "Ready")

    def taints(self, name: str) -> set[tuple[str, str]]:
        return {(each["key"], each["effect"]) for each in self.node(name).get("spec", {}).get("taints", [])}

    def deploy(self, name: str, replicas: int, site: str, **spec: Any) -> None:
        """A Deployment on a site's nodes, one pod a node as far as that goes, and a Service."""
        pod = {
            "nodeSelector": {"superedge.io/unit": site},
            "terminationGracePeriodSeconds": 1,
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {"app": name}},
                }
            ],
            "containers": [{"name": "main", "image": "pretended:1", "ports": [{"containerPort": 80}]}],
            **spec,
        }
        labels = {"app": name}
        items = [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                },
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"selector": labels, "ports": [{"port": 80}]},
            },
        ]
        for item in items:
            self.kubectl("apply", "-f", "-", stdin=json.dumps(item))
        wait_until(lambda: len(self.endpoints(name)) == replicas, f"{name} runs", 60)

    def pods(self, app: str) -> dict[str, dict[str, Any]]:
        """Pods that are not on their way out, by name."""
        found = self.get("pods", "-l", f"app={app}")["items"]
        return {
            each["metadata"]["name"]: each for each in found if "deletionTimestamp" not in each["metadata"]
        }

    def endpoints(self, app: str) -> dict[str, str]:
        """The node of each ready endpoint, by address."""
        found = {}
        for piece in self.get("endpointslices", "-l", f"kubernetes.io/service-name={app}")["items"]:
            for each in piece.get("endpoints") or ():
                if each.get("conditions", {}).get("ready"):
                    found[each["targetRef"]["name"]] = str(each.get("nodeName", ""))
        return found
