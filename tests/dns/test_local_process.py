"""A process that starts without the cloud, timed from its exec."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dnslib import DNSRecord
from twisted.trial.unittest import SynchronousTestCase

from superedge.dns.cluster.objects import Port, Service
from superedge.dns.snapshot import encode_snapshot, write_snapshot
from superedge.kube.reflector import Key
from superedge.testing.ports import free_port
from superedge.tls.authority import Authority

KUBECONFIG = {
    "clusters": [
        {"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority": "pki/ca.crt"}}
    ],
    "users": [{"name": "u", "user": {"token": "t"}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "x",
}
SERVICES = 5000


class LocalDNSProcess(SynchronousTestCase):
    """The node-local server in a process, and an API server that is away."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, self.directory)
        Authority.create(self.directory / "pki")
        (self.directory / "kubeconfig").write_text(json.dumps(KUBECONFIG))
        self.port = free_port()
        (self.directory / "edge.toml").write_text(
            f"""[kubernetes]
kubeconfig = "kubeconfig"
[local_dns]
listen = ["127.0.0.1:{self.port}"]
snapshot = "dns.snapshot"
"""
        )

    def command(self) -> list[str]:
        config = str(self.directory / "edge.toml")
        return [sys.executable, "-m", "superedge.cli.main", "edge", "--config", config]

    def environment(self) -> dict[str, str]:
        """Of processes that may run in another directory."""
        return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self.command(), env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def ask(self, name: str) -> DNSRecord:
        query = bytes(DNSRecord.question(name).pack())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.05)
            sock.connect(("127.0.0.1", self.port))
            for _ in range(3000):  # a busy machine starts it in many seconds
                try:
                    sock.send(query)
                    return DNSRecord.parse(sock.recv(4096))
                except OSError:
                    time.sleep(0.01)
        raise AssertionError("no answer")


class OfflineStartTests(LocalDNSProcess):
    def test_the_whole_zone(self) -> None:
        services = {
            Key("default", f"svc-{n}"): Service(
                (bytes([10, 0, n >> 8, n & 255]),), (Port("http", "tcp", 80),)
            )
            for n in range(SERVICES)
        }
        write_snapshot(self.directory / "dns.snapshot", encode_snapshot(services, {}))
        process = self.start()
        for number in range(0, SERVICES, 7):
            answer = self.ask(f"svc-{number}.default.svc.cluster.local")
            self.assertEqual(str(answer.rr[0].rdata), f"10.0.{number >> 8}.{number & 255}")
        self.assertEqual(self.ask("none.default.svc.cluster.local").header.rcode, 3)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(10), 0)

    def test_without_a_snapshot_nobody_knows(self) -> None:
        self.start()
        self.assertEqual(self.ask("web.default.svc.cluster.local").header.rcode, 2)
