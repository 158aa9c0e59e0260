"""Processes that may open few files, and callers who hold many of them without a word."""

from __future__ import annotations

import socket
import urllib.request
from urllib.error import HTTPError

from superedge.testing.ports import free_port
from tests.faults.world import FaultCase, abort, echo, wait_until

LIMIT = 100
IDLE = 200


class DescriptorTests(FaultCase):
    """The kernel takes all callers, and the process only as many as leave it some files for itself."""

    def setUp(self) -> None:
        super().setUp()
        self.ops = free_port()
        self.table = f'[ops]\nlisten = "127.0.0.1:{self.ops}"\n'
        self.served = self.target(echo)
        self.silent: list[socket.socket] = []

    def hold(self, port: int) -> None:
        """Connect and say nothing, until ``release``."""
        for _ in range(IDLE):
            sock = socket.create_connection(("127.0.0.1", port), 5)
            self.addCleanup(sock.close)
            self.silent.append(sock)

    def release(self) -> None:
        """The silent callers leave."""
        while self.silent:
            self.silent.pop().close()

    def page(self, name: str) -> tuple[int, str]:
        """A page for monitoring: status and text."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}/{name}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as answer:
            return answer.code, answer.read().decode()

    def assertWorks(self) -> None:
        """It serves, dials and answers."""
        self.assertEqual(self.round_trip("shop", self.served), b"hello")
        self.assertEqual(self.page("healthz"), (200, "ok\n"))

    def test_edge(self) -> None:
        lite = free_port()
        self.cloud()
        self.prefix = ("prlimit", f"--nofile={LIMIT}")
        self.edge(
            "shop",
            self.served,
            more=f"""{self.table}[lite_apiserver]
listen = ["127.0.0.1:{lite}"]
certificate = "pki/tunnel.crt"
key = "pki/tunnel.key"
client_ca = ["pki/ca.crt"]
[lite_apiserver.upstream]
servers = ["127.0.0.1:{free_port()}"]
ca = ["pki/ca.crt"]
[lite_apiserver.cache]
path = "cache"
""",
        )
        self.wait_for("shop", self.served)
        self.hold(lite)
        wait_until(lambda: self.logged("shop", "cannot accept"), "callers wait")
        self.assertWorks()
        self.prefix = ()
        self.kill("cloud")
        self.cloud()
        self.wait_for("shop", self.served)
        self.assertWorks()
        self.assertIn("Connection refused", self.page("readyz")[1])  # which the probe found

    def test_cloud(self) -> None:
        self.prefix = ("prlimit", f"--nofile={LIMIT}")
        self.cloud(self.table)
        self.prefix = ()
        self.edge("shop", self.served)
        self.wait_for("shop", self.served)
        held = self.dial("shop", self.served)
        self.hold(self.port)
        wait_until(lambda: self.logged("cloud", "cannot accept"), "callers wait")
        held.sendall(b"still there")
        self.assertEqual(held.recv(100), b"still there")
        self.assertEqual(self.page("healthz"), (200, "ok\n"))
        abort(held)
        self.release()
        wait_until(lambda: self.logged("cloud", "accepting again"), "the silent have left")
        self.wait_for("shop", self.served)
        self.assertWorks()
