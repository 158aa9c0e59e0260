"""Sites of nodes in network namespaces: a LAN for each, and for each node a way to the cloud. Needs root.

The cloud is this machine. A node's kubelet is Kubernetes' own with a runtime that only pretends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.environment import wait_until
from tests.controlplane.build import BINARY, build
from tests.controlplane.cluster import Cluster, free_port

DEPLOY = Path(__file__).parents[2] / "deploy/kubernetes"
CLOUD = "10.213.0.1"
BRIDGE = "hlcloud"

EDGE = """
[log]
level = "info"
[ops]
listen = "127.0.0.1:51010"
[tunnel_edge]
servers = {servers}
certificate = "{certificate}"
key = "{key}"
ca = ["{ca}"]
reconnect_maximum = 2.0
[edge_health]
listen = "0.0.0.0:51005"
certificate = "{certificate}"
key = "{key}"
ca = ["{ca}"]
state = "{state}"
"""

CLOUD_END = """
[ops]
listen = "127.0.0.1:{ops}"
[kubernetes]
kubeconfig = "{kubeconfig}"
[tunnel_cloud]
listen = "{cloud}:{port}"
certificate = "{pki}/cloud.crt"
key = "{pki}/cloud.key"
ca = ["{pki}/ca.crt"]
drain_timeout = 1.0
{replicas}
[edge_admission]
unit_label = "superedge.io/unit"
ca = ["{pki}/ca.crt"]
{admission}
"""


def ip(*arguments: str) -> None:
    """iproute2. Raises CalledProcessError."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def try_ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=False, capture_output=True)


REPLICAS = """
registry = "kubernetes"
[tunnel_cloud.replicas]
name = "{name}"
listen = "{cloud}:{peer}"
advertise = "{cloud}:{peer}"
ca = ["{pki}/ca.crt"]
names = ["superedge-cloud"]
drain_delay = 0.5
"""


class CloudEnd:
    """One replica: its ports and its process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port, self.ops, self.peer = free_port(), free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def page(self, path: str) -> bytes:
        """A page of its ops port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}{path}", timeout=3) as answer:
            found: bytes = answer.read()
            return found

    def status(self) -> dict[str, Any]:
        """What it says of edge health; empty while it does not answer."""
        try:
            found: dict[str, Any] = json.loads(self.page("/superedge/status"))["edge_admission"]
        except (OSError, KeyError, ValueError):
            return {}
        return found


class EdgeNode:
    """A namespace ``hl-NAME``: eth0 is the LAN, eth1 leads to the cloud."""

    def __init__(self, sites: EdgeSites, name: str, site: str, number: int) -> None:
        self.sites = sites
        self.name = name
        self.site = site
        self.number = number
        self.zone = site
        self.namespace = f"hl-{name}"
        self.lan_cable, self.cloud_cable = f"hl-{name}-l"[:15], f"hl-{name}-c"[:15]
        self.lan_address = f"192.168.77.{number}"
        self.home = sites.directory / name
        self.home.mkdir()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def wire(self, order: int) -> None:
        """Cables."""
        try_ip("netns", "delete", self.namespace)
        for cable in (self.lan_cable, self.cloud_cable):
            try_ip("link", "delete", cable)
        ip("netns", "add", self.namespace)
        for cable, device, address, bridge in (
            (self.lan_cable, "eth0", f"{self.lan_address}/24", self.sites.lan(self.site)),
            (self.cloud_cable, "eth1", f"10.213.1.{order}/16", BRIDGE),
        ):
            ip("link", "add", cable, "type", "veth", "peer", "name", device, "netns", self.namespace)
            ip("link", "set", cable, "master", bridge, "up")
            ip("-n", self.namespace, "address", "add", address, "dev", device)
            ip("-n", self.namespace, "link", "set", device, "up")
        ip("-n", self.namespace, "link", "set", "lo", "up")

    def spawn(self, what: str, *command: str | Path) -> None:
        argv = ["ip", "netns", "exec", self.namespace, *map(str, command)]
        with (self.home / f"{what}.log").open("ab") as log:
            environment = {**os.environ, "TMPDIR": str(self.home)}
            self.processes[what] = subprocess.Popen(argv, stdout=log, stderr=log, env=environment)

    def start_kubelet(self) -> None:
        cluster = self.sites.cluster
        identity = cluster.certificate(f"system:node:{self.name}", ["system:nodes"], [self.name])
        config = cluster.kubeconfig(identity, self.home / "kubeconfig")
        self.spawn(
            "kubelet",
            BINARY,
            "hollow-kubelet",
            f"--name={self.name}",
            f"--kubeconfig={config}",
            f"--address={self.lan_address}",
            f"--certificate={identity.certificate}",
            f"--key={identity.key}",
            f"--labels=superedge.io/unit={self.site},topology.kubernetes.io/zone={self.zone}",
            f"--lease={self.sites.lease}",
        )

    def start_edge(self, wrong_clock: float = 0.0) -> None:
        pki = self.sites.cluster.pki
        config = self.home / "edge.toml"
        stem = f"{pki}/system_node_{self.name}"
        config.write_text(
            EDGE.format(
                servers=[f"{CLOUD}:{end.port}" for end in self.sites.ends],
                certificate=f"{stem}.crt",
                key=f"{stem}.key",
                ca=f"{pki}/ca.crt",
                state=self.home / "state",
            )
        )
        twistd = str(Path(sys.executable).with_name("twistd"))
        clock = ["faketime", "-f", f"{wrong_clock:+.0f}s"] if wrong_clock else []
        self.spawn("edge", *clock, twistd, "--nodaemon", "--pidfile=", "superedge-edge", "--config", config)

    def start(self) -> None:
        self.start_kubelet()
        self.start_edge()

    def kill(self, what: str, sign: signal.Signals = signal.SIGKILL) -> None:
        process = self.processes.pop(what, None)
        if process is not None:
            process.send_signal(sign)
            process.wait(20)

    def die(self) -> None:
        """A power cut."""
        self.cut_cloud()
        self.cut_lan()
        for what in list(self.processes):
            self.kill(what)

    def revive(self) -> None:
        self.join_lan()
        self.join_cloud()
        self.start()

    def cut_cloud(self) -> None:
        ip("link", "set", self.cloud_cable, "down")

    def join_cloud(self) -> None:
        ip("link", "set", self.cloud_cable, "up")

    def cut_lan(self) -> None:
        ip("link", "set", self.lan_cable, "down")

    def join_lan(self) -> None:
        ip("link", "set", self.lan_cable, "up")

    def status(self) -> dict[str, Any]:
        """The edge process's status page."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, "curl", "-s", "http://127.0.0.1:51010/superedge/status"],
            capture_output=True,
            check=False,
        )
        try:
            found: dict[str, Any] = json.loads(done.stdout)["edge_health"]
        except (ValueError, KeyError):
            return {}
        return found

    def traffic(self) -> int:
        """Bytes sent so far on the LAN."""
        path = ["ip", "netns", "exec", self.namespace, "cat", "/sys/class/net/eth0/statistics/tx_bytes"]
        return int(subprocess.run(path, capture_output=True, check=True).stdout)


class EdgeSites:
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
        self.ends = [CloudEnd(f"cloud-{number}") for number in range(replicas)]
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
        token = self.kubectl("-n", "superedge", "create", "token", "superedge-cloud", "--duration=4h").strip()
        path = self.directory / "account.kubeconfig"
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
                self._start_end(end, admission)

    def _start_end(self, end: CloudEnd, admission: str) -> None:
        config, pki = self.directory / f"{end.name}.toml", self.cluster.pki
        if not config.exists():
            replicas = REPLICAS.format(name=end.name, cloud=CLOUD, peer=end.peer, pki=pki)
            config.write_text(
                CLOUD_END.format(
                    ops=end.ops,
                    kubeconfig=self.account(),
                    cloud=CLOUD,
                    port=end.port,
                    pki=pki,
                    admission=admission,
                    replicas=replicas if len(self.ends) > 1 else "",
                )
            )
        twistd = str(Path(sys.executable).with_name("twistd"))
        with (self.directory / f"{end.name}.log").open("ab") as log:
            end.process = subprocess.Popen(
                [twistd, "--nodaemon", "--pidfile=", "superedge-cloud", "--config", str(config)],
                stdout=log,
                stderr=log,
            )

    def stop_cloud(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End every cloud end."""
        for end in self.ends:
            self.stop_end(end, sign)

    def stop_end(self, end: CloudEnd, sign: signal.Signals) -> None:
        """End one of them."""
        process, end.process = end.process, None
        if process is not None:
            process.send_signal(sign)
            process.wait(30)

    def judge(self) -> CloudEnd | None:
        """The cloud end that judges."""
        return next((end for end in self.ends if end.status().get("judging")), None)

    def status(self) -> dict[str, Any]:
        """What the judge says; empty while there is none."""
        return next((found for end in self.ends if (found := end.status()).get("judging")), {})

    def standings(self) -> dict[str, dict[str, Any]]:
        """Nodes of checked units by name."""
        return {node["name"]: node for unit in self.status().get("units", ()) for node in unit["nodes"]}

    def verdicts(self, *names: str) -> set[str]:
        """What is said of these nodes."""
        found = self.standings()
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

    def add(self, site: str, *numbers: int, zone: str = "") -> list[EdgeNode]:
        """Nodes SITE-NUMBER, running; sites have the same addresses."""
        made = []
        for number in numbers:
            node = EdgeNode(self, f"{site}-{number}", site, number)
            node.zone = zone or site
            node.wire(len(self.nodes) + 1)
            self.nodes[node.name] = node
            node.start()
            made.append(node)
        return made

    def wait_ready(self, seconds: float = 90.0) -> None:
        """Until all are Ready and alive for their peers."""
        wait_until(lambda: all(self.ready(name) == "True" for name in self.nodes), "nodes are ready", seconds)
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

    # -- kubectl

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

    def stop(self) -> None:
        """End everything."""
        self.stop_cloud(signal.SIGKILL)
        for node in self.nodes.values():
            for what in list(node.processes):
                node.kill(what)
            try_ip("netns", "delete", node.namespace)
        self.cluster.stop_all()
        for name in (*self._lans, BRIDGE):
            try_ip("link", "delete", name)


def seconds_until(condition: Any, what: str, seconds: float) -> float:
    """How long it took."""
    started = time.monotonic()
    wait_until(condition, what, seconds)
    return time.monotonic() - started
