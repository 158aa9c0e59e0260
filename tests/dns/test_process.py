"""A node's name resolves while the node is connected: real processes."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner
from dnslib import DNSRecord
from twisted.trial.unittest import SynchronousTestCase

from superedge.cli.main import superedge
from superedge.testing.ports import free_port
from superedge.tls.authority import Authority


class ProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, self.directory)
        authority = Authority.create(self.directory / "pki")
        for name in ("tunnel", "system:node:edge-1"):
            authority.issue(
                name, dns=["localhost"], ips=["127.0.0.1"], directory=self.directory / "pki", name=name[-6:]
            )
        self.tunnel, self.dns = free_port(), free_port()

    def config(self, name: str, text: str) -> list[str]:
        path = self.directory / f"{name}.toml"
        path.write_text(text)
        twistd = str(Path(sys.executable).with_name("twistd"))
        return [twistd, "--nodaemon", "--pidfile=", f"superedge-{name}", "--config", str(path)]

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def cloud(self, tunnel: bool = True) -> list[str]:
        table = f"""[tunnel_cloud]
listen = "127.0.0.1:{self.tunnel}"
certificate = "pki/tunnel.crt"
key = "pki/tunnel.key"
ca = ["pki/ca.crt"]
"""
        dns = f"""[tunnel_dns]
listen = ["127.0.0.1:{self.dns}"]
addresses = ["192.0.2.10"]
"""
        return self.config("cloud", (table if tunnel else "") + dns)

    def resolve(self) -> list[str]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            sock.connect(("127.0.0.1", self.dns))
            try:
                sock.send(DNSRecord.question("edge-1").pack())
                answer = DNSRecord.parse(sock.recv(2048))
            except OSError:
                return ["nobody"]
        return [str(record.rdata) for record in answer.rr]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), end, (self.directory / "log").read_text())
            time.sleep(0.05)

    def test_a_node_comes_and_goes(self) -> None:
        self.start(self.cloud())
        self.wait_until(lambda: self.resolve() == [])
        edge = self.start(
            self.config(
                "edge",
                f"""[tunnel_edge]
servers = ["127.0.0.1:{self.tunnel}"]
certificate = "pki/edge-1.crt"
key = "pki/edge-1.key"
ca = ["pki/ca.crt"]
""",
            )
        )
        self.wait_until(lambda: self.resolve() == ["192.0.2.10"])
        edge.send_signal(signal.SIGKILL)
        self.wait_until(lambda: self.resolve() == [])

    def test_without_the_tunnel_it_names_nobody(self) -> None:
        done = CliRunner().invoke(superedge, ["check", self.cloud(False)[-1]])
        self.assertEqual(done.exit_code, 78)
        self.assertIn("tunnel_dns: needs a table tunnel_cloud", done.stderr)
