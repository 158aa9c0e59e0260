"""A lite-apiserver whose upstream is not what its configuration says: everybody is told why."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from superedge.testing.contracts.client import Client
from superedge.testing.ports import free_port
from superedge.tls.authority import Authority
from tests.faults.world import FaultCase, Target, wait_until
from tests.testing.server import EmbeddedServer

PODS = "/api/v1/namespaces/default/pods"


def plain_http(sock: Any) -> None:
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


class WrongUpstreamTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = EmbeddedServer()
        self.addCleanup(self.server.stop)
        self.address = self.server.url.removeprefix("https://")
        self.lite, self.ops = free_port(), free_port()

    def configure(self, server: str = "", ca: Path | None = None, more: str = "") -> None:
        self.run_twistd(
            "lite",
            "superedge-edge",
            f"""[ops]
listen = "127.0.0.1:{self.ops}"
[lite_apiserver]
listen = ["127.0.0.1:{self.lite}"]
certificate = "pki/tunnel.crt"
key = "pki/tunnel.key"
client_ca = ["pki/ca.crt"]
[lite_apiserver.upstream]
servers = ["{server or self.address}"]
ca = ["{ca or self.server.ca}"]
probe_interval = 1.0
{more}
[lite_apiserver.cache]
path = "cache"
""",
        )

    def page(self, name: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}/{name}", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            return ""

    def assertTold(self, cause: str, *parts: str) -> None:
        """The reason with these parts is in the log, the status, /readyz, the 503, a metric and the check."""
        client = Client(f"https://127.0.0.1:{self.lite}", self.pki / "ca.crt")

        def status() -> str:
            return str(json.loads(self.page("superedge/status") or "{}")["lite_apiserver"]["reason"])

        def answer() -> str:
            found = client.call("GET", PODS)
            self.assertEqual(found.status, 503)
            return str(found.json["message"])

        def metric() -> str:
            is_set = rf'(?m)^superedge_liteapiserver_probe_failed{{cause="{cause}"}} 1\.0$'
            return " ".join(parts) if re.search(is_set, self.page("metrics")) else ""

        wait_until(lambda: "lite-apiserver is offline" in self.page("readyz"), "it is offline")
        for place in (self.log, status, lambda: self.page("readyz"), answer, metric, self.check):
            # The first probe may take too long on a busy machine.
            wait_until(lambda: self.has(place(), parts), f"{parts} in {place}")  # noqa: B023

    def has(self, text: str, parts: tuple[str, ...]) -> bool:
        return all(part in text for part in parts)

    def log(self) -> str:
        return "".join(line["message"] for line in self.lines("lite") if "offline: " in line["message"])

    def check(self) -> str:
        """What `superedge check --connect` says of the server."""
        superedge = Path(sys.executable).with_name("superedge")
        done = subprocess.run(
            [superedge, "check", "--connect", self.directory / "lite.toml"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 1, done.stdout)
        line = done.stdout.splitlines()[-1]
        self.assertTrue(line.startswith("FAILED  lite_apiserver.upstream.servers: "), line)
        return line

    def test_another_ca(self) -> None:
        Authority.create(self.directory / "other")
        self.configure(ca=self.directory / "other" / "ca.crt")
        self.assertTold("tls", self.address, "certificate not accepted")

    def test_another_port(self) -> None:
        port = free_port()
        self.configure(f"127.0.0.1:{port}")
        self.assertTold("refused", f"127.0.0.1:{port}", "Connection refused")

    def test_another_server_name(self) -> None:
        self.configure(more='server_name = "cloud.example"')
        self.assertTold("tls", self.address, "cloud.example")

    def test_a_name_without_address(self) -> None:
        self.configure("cloud.invalid:6443")
        self.assertTold("name", "cloud.invalid")

    def test_plain_http(self) -> None:
        target: Target = self.target(plain_http)
        self.configure(f"127.0.0.1:{target.port}")
        self.assertTold("tls", f"127.0.0.1:{target.port}", "does not speak TLS")
