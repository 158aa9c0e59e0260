"""Sites of nodes in network namespaces: a LAN for each, and for each node a way to the cloud. Needs root.

The cloud is this machine. A node's kubelet is Kubernetes' own with a runtime that only pretends.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cloudends import CloudEnd
from tests.cluster.clusterobjects import ClusterObjects
from tests.cluster.edgenodes import BRIDGE, CLOUD, EdgeNode
from tests.cluster.environment import wait_until
from tests.cluster.iproute import ip, try_ip
from tests.controlplane.build import build
from tests.controlplane.cluster import Cluster

DEPLOY = Path(__file__).parents[2] / "deploy/kubernetes"


class EdgeSites(ClusterObjects):
    """The control plane, a cloud end, and nodes by name."""

    def __init__(
        self, directory: Path, lease: int = 16, grace: int = 20, toleration: int = 10, replicas: int = 1
    ) -> None:
        build()
        self.directory = directory
        self.lease = lease
        self.grace = grace
        self.toleration = toleration
        self.cluster = Cluster(directory / "cluster", host=CLOUD)
        self.nodes: dict[str, EdgeNode] = {}
        self.ends = [CloudEnd(f"cloud-{number}", directory) for number in range(replicas)]
        self._admissions: list[str] = []
        self._lans: set[str] = set()

    # -- the cloud

    def up(self, *controller_arguments: str) -> None:
        """Start the control plane with the manifests applied."""
        try_ip("link", "delete", BRIDGE)
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("address", "add", f"{CLOUD}/16", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        self.cluster.up(
            controllers=True,
            apiserver_arguments=[f"--default-unreachable-toleration-seconds={self.toleration}"],
            controller_arguments=[
                f"--node-monitor-grace-period={self.grace}s",
                "--node-monitor-period=2s",
                *controller_arguments,
            ],
        )
        self.cluster.certificate("superedge-cloud", dns=["localhost", "superedge-cloud"], file="cloud")
        self.kubectl("create", "namespace", "superedge")
        wait_until(
            lambda: self.try_kubectl("get", "namespace", "kube-node-lease").returncode == 0,
            "its own namespaces",
        )
        for item in yaml.safe_load_all((DEPLOY / "replicas.yaml").read_text()):
            if item["kind"] in ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
                self.kubectl("apply", "-f", "-", stdin=json.dumps(item))
        self.kubectl("apply", "-f", str(DEPLOY / "health-rbac.yaml"))

    def account(self) -> Path:
        """A kubeconfig of the cloud end's service account."""
        path = self.directory / "account.kubeconfig"
        if path.exists():
            return path
        token = self.kubectl("-n", "superedge", "create", "token", "superedge-cloud", "--duration=4h").strip()
        path.write_text(
            json.dumps(
                {
                    "current-context": "c",
                    "contexts": [
                        {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "superedge"}}
                    ],
                    "clusters": [
                        {
                            "name": "c",
                            "cluster": {
                                "server": self.cluster.server,
                                "certificate-authority": str(self.cluster.pki / "ca.crt"),
                            },
                        }
                    ],
                    "users": [{"name": "u", "user": {"token": token}}],
                }
            )
        )
        return path

    def start_cloud(self, *admissions: str) -> None:
        """The cloud ends that do not run, with what each has in its table edge_admission."""
        self._admissions = list(admissions) or self._admissions
        for end, admission in zip(self.ends, self._admissions, strict=True):
            if end.process is None:
                end.start(self.cluster.pki, self.account(), admission, len(self.ends) == 1)

    def stop_cloud(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End every cloud end."""
        for end in self.ends:
            end.stop(sign)

    def judge(self) -> CloudEnd | None:
        """The cloud end that judges."""
        return next((end for end in self.ends if end.status().get("judging")), None)

    def status(self) -> dict[str, Any]:
        """What the judge says; empty while there is none."""
        return next((found for end in self.ends if (found := end.status()).get("judging")), {})

    def assessments(self) -> dict[str, dict[str, Any]]:
        """Nodes of checked units by name."""
        return {node["name"]: node for unit in self.status().get("units", ()) for node in unit["nodes"]}

    def verdicts(self, *names: str) -> set[str]:
        """What is said of these nodes."""
        found = self.assessments()
        return {found[name]["verdict"] if name in found else "none" for name in names}

    # -- nodes

    def lan(self, site: str) -> str:
        """The site's bridge."""
        name = f"hl{site}"[:15]
        if name not in self._lans:
            self._lans.add(name)
            try_ip("link", "delete", name)
            ip("link", "add", name, "type", "bridge")
            ip("link", "set", name, "up")
        return name

    def add(
        self, site: str, *numbers: int, zone: str = "", kind: type[EdgeNode] = EdgeNode
    ) -> list[EdgeNode]:
        """Nodes SITE-NUMBER, running; sites have the same addresses."""
        made = []
        for number in numbers:
            node = kind(self, f"{site}-{number}", site, number)
            node.zone = zone or site
            node.wire(len(self.nodes) + 1)
            self.nodes[node.name] = node
            node.start()
            made.append(node)
        return made

    def wait_ready(self, seconds: float = 90.0) -> None:
        """Until all are Ready, open to pods, and alive for their peers."""

        def usable(name: str) -> bool:
            return self.ready(name) == "True" and not self.taints(name)

        wait_until(lambda: all(usable(name) for name in self.nodes), "nodes are ready", seconds)
        wait_until(lambda: self.verdicts(*self.nodes) == {"alive"}, "nodes are alive", seconds)

    def part(self, site: str, far: list[EdgeNode]) -> None:
        """These nodes have a LAN of their own from now on."""
        for node in far:
            ip("link", "set", node.lan_cable, "master", self.lan(f"{site}2"))

    def heal(self, site: str, far: list[EdgeNode]) -> None:
        """They are back on the site's."""
        for node in far:
            ip("link", "set", node.lan_cable, "master", self.lan(site))

    def writes(self, node: str) -> int:
        """What the cloud end wrote about a node and its pods so far, as its log tells."""
        lines = [
            line
            for end in self.ends
            for line in (self.directory / f"{end.name}.log").read_text().splitlines()
        ]
        writers = ("superedge.health.cloud.publishing", "superedge.health.cloud.mending")
        return sum(1 for line in lines if node in line and any(writer in line for writer in writers))

    def stop(self) -> None:
        """End everything."""
        self.stop_cloud(signal.SIGKILL)
        for node in self.nodes.values():
            node.stop()
        self.cluster.stop_all()
        for name in (*self._lans, BRIDGE):
            try_ip("link", "delete", name)


def seconds_until(condition: Any, what: str, seconds: float) -> float:
    """How long it took."""
    started = time.monotonic()
    wait_until(condition, what, seconds)
    return time.monotonic() - started
