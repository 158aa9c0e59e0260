"""Several cloud ends as processes, an edge, and a server on the edge: for tests on any API server."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dnslib import DNSRecord

from superedge.testing.ports import free_port
from superedge.tls.authority import Authority

NODE = "edge-1"
TWISTD = str(Path(sys.executable).with_name("twistd"))

CLOUD = """
[log]
level = "debug"
[ops]
listen = "127.0.0.1:{ops}"
[kubernetes]
kubeconfig = "{kubeconfig}"
[tunnel_cloud]
listen = "127.0.0.1:{tunnel}"
certificate = "pki/cloud.crt"
key = "pki/cloud.key"
ca = ["pki/ca.crt"]
registry = "kubernetes"
drain_timeout = 10.0
node_objects = true
node_ranges = ["198.51.100.0/25"]
pod_ranges = ["198.51.100.128/25"]
reserved_ranges = ["198.51.100.64/30"]
[tunnel_cloud.replicas]
name = "{name}"
namespace = "{namespace}"
listen = "127.0.0.1:{peer}"
advertise = "127.0.0.1:{peer}"
ca = ["pki/ca.crt"]
names = ["superedge-cloud"]
lease_duration = {lease}
drain_delay = 0.5
[[tunnel_cloud.listeners]]
kind = "connect"
listen = "unix:{directory}/{name}.sock"
[tunnel_dns]
listen = ["127.0.0.1:{dns}"]
addresses = ["{address}"]
"""

EDGE = """
[tunnel_edge]
drain_timeout = 1.0
servers = [{servers}]
server_name = "superedge-cloud"
certificate = "pki/edge-1.crt"
key = "pki/edge-1.key"
ca = ["pki/ca.crt"]
allow = ["127.0.0.1:*"]
reconnect_initial = 0.2
"""


class Echo:
    """Sends back what it gets; its half-close, too."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def close(self) -> None:
        self._socket.close()


class Site:
    """Cloud ends ``a``, ``b``, ``c``: ports, processes, configuration. The edge dials them in that order."""

    def __init__(self, kubeconfig: Path, namespace: str, names: str = "abc", lease: int = 3) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-replicas-"))
        pki = self.directory / "pki"
        self.authority = Authority.create(pki)
        self.authority.issue(
            "superedge-cloud", dns=["superedge-cloud"], ips=["127.0.0.1"], directory=pki, name="cloud"
        )
        self.authority.issue(f"system:node:{NODE}", directory=pki, name=NODE)
        self.echo = Echo()
        self.names = names
        self.ports = {
            name: {kind: free_port() for kind in ("tunnel", "peer", "dns", "ops")} for name in names
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in names:
            text = CLOUD.format(
                name=name,
                namespace=namespace,
                kubeconfig=kubeconfig,
                directory=self.directory,
                address=self.address(name),
                lease=lease,
                **self.ports[name],
            )
            (self.directory / f"{name}.toml").write_text(text)
        servers = ", ".join(f'"127.0.0.1:{self.ports[name]["tunnel"]}"' for name in names)
        (self.directory / "edge.toml").write_text(EDGE.format(servers=servers))

    def start(self, name: str) -> None:
        command = "superedge-edge" if name == "edge" else "superedge-cloud"
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [
                    TWISTD,
                    "--nodaemon",
                    "--pidfile=",
                    command,
                    "--config",
                    str(self.directory / f"{name}.toml"),
                ],
                stdout=log,
                stderr=log,
            )

    def end(self, name: str, sign: signal.Signals = signal.SIGTERM, wait: bool = True) -> int | None:
        process = self.processes[name]
        process.send_signal(sign)
        return process.wait(30) if wait else None

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    def logs(self) -> str:
        return "\n".join(
            f"== {path.name}\n{path.read_text()}" for path in sorted(self.directory.glob("*.log"))
        )

    def connect(self, name: str, target: str = "") -> socket.socket:
        """A stream to the echo server on the node through the replica's listener. Raises OSError."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        try:
            sock.connect(f"{self.directory}/{name}.sock")
            target = target or f"{NODE}:{self.echo.port}"
            sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                data = sock.recv(1)
                if not data:
                    raise ConnectionError(head.decode())
                head += data
            if not head.startswith(b"HTTP/1.1 200 "):
                raise ConnectionError(head.decode())
        except BaseException:
            sock.close()
            raise
        return sock

    def reaches(self, name: str) -> bool:
        """Whether a byte comes back."""
        try:
            with self.connect(name) as sock:
                sock.sendall(b"x")
                return sock.recv(1) == b"x"
        except OSError:
            return False

    def refusal(self, name: str, host: str) -> str:
        """What the replica answers to who wants to go there; empty when it leads there."""
        try:
            self.connect(name, f"{host}:{self.echo.port}").close()
        except ConnectionError as problem:
            return str(problem).partition("\r\n")[0]
        return ""

    def resolve(self, name: str, question: str = NODE, kind: str = "A") -> list[str]:
        """What the replica's DNS server answers; empty when it does not."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            sock.connect(("127.0.0.1", self.ports[name]["dns"]))
            try:
                sock.send(DNSRecord.question(question, kind).pack())
                answer = DNSRecord.parse(sock.recv(2048))
            except OSError:
                return []
        return [str(record.rdata) for record in answer.rr]

    def readiness(self, name: str) -> tuple[int, str]:
        """What the replica says of its readiness; 0 while it does not listen."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.ports[name]['ops']}/readyz", timeout=5
            ) as found:
                return int(found.status), found.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()
        except OSError:
            return 0, ""

    def status(self, name: str) -> dict[str, Any]:
        """The cloud end's part of the replica's status page."""
        port = self.ports[name]["ops"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/superedge/status", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)["tunnel_cloud"]
            return found

    def address(self, name: str) -> str:
        """What a node resolves to that the replica holds."""
        return f"192.0.2.{self.names.index(name) + 1}"

    def holder(self) -> str:
        """The replica to which the edge said last that it is connected."""
        found = re.findall(r"tunnel session started with 127\.0\.0\.1:(\d+)", self.log("edge"))
        ports = {self.ports[name]["tunnel"]: name for name in self.names}
        return ports[int(found[-1])] if found else ""

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        self.echo.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def wait_until(condition: Callable[[], Any], site: Site, seconds: float = 60.0) -> Any:
    """Ask again until the answer is true. Raises AssertionError with the processes' logs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s\n{site.logs()}")
