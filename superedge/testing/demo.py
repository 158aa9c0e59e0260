"""``make demo``: an embedded cluster, the tunnel's cloud end and two edge nodes as real processes.

Each step says what it shows and fails the demo if it is not as promised.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from superedge.errors import SuperEdgeError
from superedge.tls.authority import Authority

STEP_TIMEOUT = 20.0

console = Console(highlight=False)


class DemoError(SuperEdgeError):
    """A step did not show what it promised."""


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Ask again until the condition is true. Raises DemoError when that takes too long."""
    end = time.monotonic() + STEP_TIMEOUT
    while time.monotonic() < end:
        with suppress(OSError, http.client.HTTPException):
            if result := condition():
                return result
        time.sleep(0.1)
    raise DemoError(f"{what}: not within {STEP_TIMEOUT:g} s")


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print a step and how long it took."""
    console.print(f"[bold]•[/] {text} ", end="")
    started = time.monotonic()
    yield
    console.print(f"[green]ok[/] [dim]{time.monotonic() - started:.1f} s[/]")


class Demo:
    """The processes of the demo and what is asked of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.cluster: dict[str, Any] = {}
        self.tunnel_port, self.door, self.ops = free_port(), free_port(), free_port()
        self.socket_path = directory / "egress.sock"

    def spawn(self, name: str, *arguments: str) -> None:
        """Start a process whose output goes to NAME.log."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def twistd(self, name: str, command: str) -> None:
        """Start ``twistd COMMAND`` with the configuration NAME.toml."""
        config = str(self.directory / f"{name}.toml")
        twistd = str(Path(sys.executable).with_name("twistd"))
        self.spawn(name, twistd, "--nodaemon", "--pidfile=", command, "--config", config)

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
        """The embedded API server with two nodes' kubelet stand-ins."""
        cluster = self.directory / "cluster"
        self.spawn("cluster", "-m", "superedge.testing", "--directory", str(cluster))
        state = cluster / "cluster.json"
        wait_until(state.exists, "the embedded cluster starts")
        self.cluster = json.loads(state.read_text())

    def write_configs(self) -> None:
        """Certificates of the demo's own authority, cloud.toml and one file for each edge node."""
        pki = self.directory / "pki"
        authority = Authority.create(pki)
        authority.issue("tunnel", dns=["localhost"], ips=["127.0.0.1"], directory=pki)
        (self.directory / "cloud.toml").write_text(f"""
[ops]
listen = "127.0.0.1:{self.ops}"
[tunnel_cloud]
listen = "127.0.0.1:{self.tunnel_port}"
certificate = "pki/tunnel.crt"
key = "pki/tunnel.key"
ca = ["pki/ca.crt"]
drain_timeout = 1.0
[[tunnel_cloud.listeners]]
kind = "connect"
listen = "unix:{self.socket_path}"
[[tunnel_cloud.listeners]]
kind = "tcp"
listen = "127.0.0.1:{self.door}"
node = "edge-2"
target = "127.0.0.1:{self.cluster["kubelet_ports"]["edge-2"]}"
""")
        for node, port in self.cluster["kubelet_ports"].items():
            authority.issue(f"system:node:{node}", ["system:nodes"], directory=pki, name=node)
            (self.directory / f"{node}.toml").write_text(f"""
[tunnel_edge]
servers = ["127.0.0.1:{self.tunnel_port}"]
certificate = "pki/{node}.crt"
key = "pki/{node}.key"
ca = ["pki/ca.crt"]
allow = ["127.0.0.1:{port}"]
reconnect_initial = 0.2
reconnect_maximum = 1.0
""")

    # -- questions

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl against the embedded cluster; its output."""
        program = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
        kubeconfig = f"--kubeconfig={self.cluster['kubeconfig']}"
        done = subprocess.run(
            [program, kubeconfig, *arguments], capture_output=True, text=True, timeout=30, check=False
        )
        if done.returncode:
            raise DemoError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def connect(self, target: str) -> tuple[int, str, socket.socket]:
        """What the CONNECT listener answers, as a kube-apiserver would ask it."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(STEP_TIMEOUT)
        sock.connect(str(self.socket_path))
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = sock.recv(1)
            if not piece:
                break
            head += piece
        status = head.split(b"\r\n")[0].decode().split(" ", 2)
        return int(status[1]) if len(status) > 1 else 0, status[-1], sock

    def kubelet(self, node: str, path: str) -> str:
        """GET a kubelet path by node name, TLS and client certificate end to end."""
        status, reason, sock = self.connect(f"{node}:{self.cluster['kubelet_ports'][node]}")
        if status != 200:
            raise DemoError(f"CONNECT {node}: {status} {reason}")
        pki = Path(self.cluster["directory"]) / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "apiserver-kubelet-client.crt", pki / "apiserver-kubelet-client.key")
        connection = http.client.HTTPSConnection(node)
        with context.wrap_socket(sock, server_hostname=node) as secured:
            connection.sock = secured
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def sessions(self) -> float:
        """How many nodes the cloud end counts in its metrics."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ops, timeout=5)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        wanted = 'superedge_tunnel_sessions{end="cloud"} '
        return next((float(line[len(wanted) :]) for line in text.splitlines() if line.startswith(wanted)), 0)

    def connected(self, node: str) -> bool:
        """Whether the cloud reaches the node."""
        status, _, sock = self.connect(f"{node}:{self.cluster['kubelet_ports'][node]}")
        sock.close()
        return status == 200


def expect(condition: bool, message: str) -> None:
    """Raise DemoError unless the condition holds."""
    if not condition:
        raise DemoError(message)


def play(demo: Demo) -> None:
    """The steps."""
    with step("an embedded cluster with two nodes whose kubelets listen on loopback alone"):
        demo.start_cluster()
    with step("kubectl sees both nodes"):
        nodes = demo.kubectl("get", "nodes", "-o", "name").split()
        expect(nodes == ["node/edge-1", "node/edge-2"], f"kubectl said {nodes}")
    with step("tunnel: the cloud end and two edge nodes, each a twistd process"):
        demo.write_configs()
        demo.twistd("cloud", "superedge-cloud")
        for node in nodes:
            demo.twistd(node.removeprefix("node/"), "superedge-edge")
        wait_until(lambda: demo.connected("edge-1") and demo.connected("edge-2"), "both nodes connect")
    for node, pod in (("edge-1", "web-0"), ("edge-2", "web-1")):
        with step(f"logs of {pod} from {node}'s kubelet, by node name, through CONNECT"):
            said = demo.kubelet(node, f"/containerLogs/default/{pod}/main")
            expect(said == f"hello from {pod} on {node}\n", f"the kubelet said {said!r}")
    with step("a port that the node does not allow is refused, and says so"):
        status, reason, sock = demo.connect("edge-1:22")
        sock.close()
        expect(status == 403 and "allow list" in reason, f"the answer was {status} {reason}")
    with step("edge-1 is killed (kill -9): it is gone, edge-2 still answers"):
        demo.stop("edge-1", signal.SIGKILL)
        wait_until(lambda: not demo.connected("edge-1"), "the cloud forgets edge-1")
        expect(demo.kubelet("edge-2", "/healthz") == "ok", "edge-2 did not answer")
    with step("edge-1 starts again and is reachable again"):
        demo.twistd("edge-1", "superedge-edge")
        wait_until(lambda: demo.connected("edge-1"), "edge-1 comes back")
    with step("the cloud end is killed (kill -9) and started again: both nodes find it"):
        demo.stop("cloud", signal.SIGKILL)
        demo.twistd("cloud", "superedge-cloud")
        wait_until(lambda: demo.connected("edge-1") and demo.connected("edge-2"), "both nodes reconnect")
        expect(demo.kubelet("edge-1", "/healthz") == "ok", "edge-1 did not answer")
    with step("metrics count two sessions"):
        wait_until(lambda: demo.sessions() == 2, "the metrics agree")


def main() -> None:
    """Play the demo; exit 0 when every step was as promised."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="superedge-demo-"))
    demo = Demo(directory)
    failed = True
    try:
        play(demo)
        failed = False
        console.print("[bold green]the demo did what it promised[/]")
        if options.keep:
            console.print(f"kubectl --kubeconfig={demo.cluster['kubeconfig']} get pods -A")
            console.print(f"CONNECT NODE:PORT on unix:{demo.socket_path} reaches the kubelets")
            signal.pause()
    except SuperEdgeError as problem:
        console.print(f"[bold red]failed[/] {problem}\nlogs are in {directory}", soft_wrap=True)
    except KeyboardInterrupt:
        failed = False
    finally:
        demo.stop_all()
        if not failed:
            shutil.rmtree(directory, ignore_errors=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
