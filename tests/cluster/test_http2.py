"""lite-apiserver speaks HTTP/2 to a real API server: what shares a connection, what does not, an outage."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from functools import partial
from pathlib import Path

from tests.cluster import test_tunnel
from tests.cluster.environment import Environment, wait_until
from tests.cluster.lite import LiteAPIServer
from tests.cluster.test_tunnel import POD

WATCHES = 300


def connections(process: int, port: int) -> int:
    """Established TCP connections of a process to a local port."""
    sockets = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        try:
            sockets.add(os.readlink(entry))
        except OSError:
            continue  # closed a moment ago
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    remote = f":{port:04X}"
    return sum(row[2].endswith(remote) and row[3] == "01" and f"socket:[{row[9]}]" in sockets for row in rows)


class HTTP2Tests(test_tunnel.UnixSocketTests):
    """And kubectl's streams to a real kubelet. Tests run in the order of their names."""

    protocol = "all"
    lite: LiteAPIServer

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        super().prepare(environment)
        cls.lite = LiteAPIServer(environment, http2=cls.protocol)
        environment.kubeconfig = cls.lite.kubeconfig

    @property
    def upstream(self) -> int:
        """Connections to the API server."""
        return connections(self.lite.process, self.environment.cluster.port)

    def watch(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Open a watch of ConfigMaps, read its head."""
        client = context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.lite.port), 20), server_hostname="127.0.0.1"
        )
        self.addCleanup(client.close)
        client.sendall(
            b"GET /api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=120 HTTP/1.1\r\n"
            b"Host: a\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        self.assertTrue(head.startswith(b"HTTP/1.1 200"), head)
        return client

    def test_1_many_watches_few_connections(self) -> None:
        context = ssl.create_default_context(cafile=str(self.environment.cluster.pki / "ca.crt"))
        context.load_cert_chain(self.lite.admin.certificate, self.lite.admin.key)
        watches = [self.watch(context) for _ in range(WATCHES)]
        self.assertLess(self.upstream, 20)
        self.environment.kubectl("create", "configmap", "seen-by-all", "--from-literal=a=b")
        for client in watches:
            received = b""
            while b"seen-by-all" not in received:
                piece = client.recv(65536)
                self.assertTrue(piece, "the watch ended")
                received += piece
        self.environment.kubectl("delete", "configmap", "seen-by-all")

    def test_2_an_outage(self) -> None:
        environment = self.environment
        context = ssl.create_default_context(cafile=str(environment.cluster.pki / "ca.crt"))
        context.load_cert_chain(self.lite.admin.certificate, self.lite.admin.key)
        self.environment.kubectl("get", "configmaps")
        watch = self.watch(context)
        environment.cluster.stop("kube-apiserver", signal.SIGKILL)
        wait_until(lambda: self.lite.state == "offline", "the outage is noticed")
        self.assertIn("kube-root-ca.crt", self.environment.kubectl("get", "configmaps"))
        environment.cluster.start("kube-apiserver")
        environment.cluster.wait_until_ready()
        wait_until(lambda: self.lite.state == "online", "the cloud is back")
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            piece = watch.recv(65536)
            self.assertTrue(piece, "it was cut off")
            received += piece  # what was held open ends in order, so that the client asks anew
        self.environment.kubectl("create", "configmap", "after", "--from-literal=a=b")
        self.assertIn("after", self.environment.kubectl("get", "configmaps"))

    def test_exec_over_spdy(self) -> None:
        """As kubectl did until 1.30; by default it is a WebSocket."""
        said = self.environment.try_kubectl("-v=8", "exec", POD, "--", "echo").stderr
        self.assertIn("Upgrade: websocket", said)
        self.set("KUBECTL_REMOTE_COMMAND_WEBSOCKETS")
        said = self.environment.try_kubectl("-v=8", "exec", POD, "--", "echo").stderr
        self.assertIn("Upgrade: SPDY/3.1", said)
        self.test_exec_carries_bytes_both_ways()
        self.test_exec_with_a_terminal()

    def test_port_forward_over_spdy(self) -> None:
        self.set("KUBECTL_PORT_FORWARD_WEBSOCKETS")
        said = Path(self.mktemp())
        with said.open("wb") as errors:
            self.patch(self, "start", partial(self.start, "-v=8", stderr=errors))
            self.test_port_forward()
        self.assertIn("Upgrade: SPDY/3.1", said.read_text())

    def set(self, variable: str) -> None:
        """Have kubectl do without WebSockets."""
        os.environ[variable] = "false"
        self.addCleanup(os.environ.pop, variable)
