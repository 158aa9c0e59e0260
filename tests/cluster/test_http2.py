"""lite-apiserver speaks HTTP/2 to a real API server: what shares a connection, what does not, an outage."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path

from tests.cluster import test_tunnel
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.lite import LiteAPIServer
from tests.cluster.test_tunnel import POD, read_lines

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


class HTTP2Tests(EnvironmentCase):
    """Tests of one class run in the order of their names: the outage comes last."""

    protocol = "all"
    lite: LiteAPIServer

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        test_tunnel.UnixSocketTests.prepare(environment)
        cls.lite = LiteAPIServer(environment, http2=cls.protocol)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.environment.kubectl(*arguments, stdin=stdin, kubeconfig=self.lite.kubeconfig)

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

    def test_1_kubectl_logs_and_exec(self) -> None:
        self.assertIn(POD, self.kubectl("get", "pods"))
        self.kubectl("create", "configmap", "mine", "--from-literal=a=b")
        found = json.loads(self.kubectl("get", "configmap", "mine", "-o", "json"))
        self.assertEqual(found["data"], {"a": "b"})
        self.kubectl("delete", "configmap", "mine")
        data = os.urandom(300_000).hex()
        self.assertEqual(self.kubectl("exec", "-i", POD, "--", "cat", stdin=data), data)
        process = subprocess.Popen(
            self.environment.command("logs", "-f", "--tail=1", POD, kubeconfig=self.lite.kubeconfig),
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(len(read_lines(process.stdout, 3)), 3)

    def test_2_many_watches_few_connections(self) -> None:
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

    def test_3_an_outage(self) -> None:
        environment = self.environment
        context = ssl.create_default_context(cafile=str(environment.cluster.pki / "ca.crt"))
        context.load_cert_chain(self.lite.admin.certificate, self.lite.admin.key)
        self.kubectl("get", "configmaps")
        watch = self.watch(context)
        environment.cluster.stop("kube-apiserver", signal.SIGKILL)
        wait_until(lambda: self.lite.state == "offline", "the outage is noticed")
        self.assertIn("kube-root-ca.crt", self.kubectl("get", "configmaps"))
        environment.cluster.start("kube-apiserver")
        environment.cluster.wait_until_ready()
        wait_until(lambda: self.lite.state == "online", "the cloud is back")
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            piece = watch.recv(65536)
            self.assertTrue(piece, "it was cut off")
            received += piece  # what was held open ends in order, so that the client asks anew
        self.kubectl("create", "configmap", "after", "--from-literal=a=b")
        self.assertIn("after", self.kubectl("get", "configmaps"))
