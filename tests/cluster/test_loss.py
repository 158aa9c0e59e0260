"""A link that loses packets, all of them or many: what a client of lite-apiserver gets meanwhile.

Times are printed, not asserted.
"""

from __future__ import annotations

import json
import os
import ssl
import statistics
import subprocess
import sys
import time
from http.client import HTTPSConnection
from itertools import cycle
from typing import Any

from superedge.testing.contracts.client import Client
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.lite import LiteAPIServer
from tests.cluster.namespace import NetworkNamespace
from tests.controlplane.cluster import Cluster

INSIDE, OUTSIDE = "198.18.40.2", "198.18.40.1"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
LATER = 30
LOSSY_SECONDS = 5.0
RETURNS = 10


class LossTests(EnvironmentCase):
    """A real API server in a network namespace that drops what its cable brings and takes."""

    namespace: str
    lite: LiteAPIServer
    direct: Client
    through: Client

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        cls.namespace = f"se-{os.getpid()}"
        namespace = NetworkNamespace(cls.namespace, INSIDE, [OUTSIDE])
        environment.last.append(namespace.remove)
        cluster = environment.cluster = Cluster(environment.directory / "cluster", INSIDE, cls.namespace)
        cluster.up()
        cls.lite = LiteAPIServer(environment)
        pair = (cls.lite.admin.certificate, cls.lite.admin.key)
        cls.direct = Client(cluster.server, cluster.pki / "ca.crt", *pair)
        cls.through = Client(cls.lite.url, cluster.pki / "ca.crt", *pair)

    def drop(self, *which: str) -> None:
        """Lose packets of new connections and old; ``which`` are of those that come in, else all are lost."""
        self.iptables("-A", "INPUT", "-i", "eth0", *which, "-j", "DROP")
        if not which:
            self.iptables("-A", "OUTPUT", "-o", "eth0", "-j", "DROP")
        self.addCleanup(self.iptables, "-F")

    def iptables(self, *arguments: str) -> None:
        command = ["ip", "netns", "exec", self.namespace, "iptables", *arguments]
        subprocess.run(command, check=True, capture_output=True)

    def connect(self) -> HTTPSConnection:
        """A client's connection to lite-apiserver, which it keeps."""
        context = ssl.create_default_context(cafile=str(self.through.ca))
        context.load_cert_chain(self.lite.admin.certificate, self.lite.admin.key)
        connection = HTTPSConnection("127.0.0.1", self.lite.port, context=context, timeout=30)
        self.addCleanup(connection.close)
        connection.connect()
        return connection

    def ask(self, connection: HTTPSConnection, path: str) -> tuple[float, bool, bytes]:
        """Seconds, whether the cache answered, and the body of a 200."""
        started = time.monotonic()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        seconds = time.monotonic() - started
        self.assertEqual(answer.status, 200, body)
        return seconds, (answer.getheader("Warning") or "").startswith("110"), body

    def make(self, name: str) -> None:
        answer = self.direct.call("POST", CONFIGMAPS, {"metadata": {"name": name}})
        self.assertEqual(answer.status, 201, answer.body)

    def online(self) -> None:
        wait_until(lambda: self.lite.state == "online", "the cloud is back", 40)

    def test_1_everything_is_lost(self) -> None:
        self.make("one")
        connection = self.connect()
        self.assertFalse(self.ask(connection, CONFIGMAPS)[1])
        version = self.through.call("GET", CONFIGMAPS).json["metadata"]["resourceVersion"]
        watch = self.through.watch(CONFIGMAPS, resourceVersion=version)
        with watch:
            self.drop()
            first, stale, body = self.ask(connection, CONFIGMAPS)
            self.assertTrue(stale)
            self.assertIn(b'"one"', body)
            later = []
            for _ in range(LATER):
                seconds, stale, _ = self.ask(connection, f"{CONFIGMAPS}/one")
                self.assertTrue(stale)
                later.append(seconds)
            self.report("first", first, "later", statistics.median(later), "the slowest", max(later))
            self.lite.crash()
            started = time.monotonic()
            self.lite.start()
            wait_until(lambda: self.lite.state != "", "it runs again")
            self.assertTrue(self.ask(self.connect(), CONFIGMAPS)[1])
            self.report("from exec to an answer", time.monotonic() - started)
        self.iptables("-F")
        self.online()
        self.make("two")
        self.assertIn(b'"two"', self.ask(self.connect(), CONFIGMAPS)[2])

    def test_2_a_third_is_lost(self) -> None:
        """It flaps as it must; no answer is an error, and none is something that never was."""
        self.ask(self.connect(), CONFIGMAPS)
        self.drop("-m", "statistic", "--mode", "random", "--probability", "0.3")
        end = time.monotonic() + LOSSY_SECONDS
        taken, cached = [], 0
        watch = f"{CONFIGMAPS}?watch=1&timeoutSeconds=1"
        for path in cycle([*[CONFIGMAPS, f"{CONFIGMAPS}/one"] * 4, watch]):
            seconds, stale, body = self.ask(self.connect(), path)
            self.assertIn(b'"one"', body)
            cached += stale
            if path != watch:
                taken.append(seconds)
            if time.monotonic() > end:
                break
        median = statistics.median(taken)
        self.report("reads", len(taken), "cached", cached, "median", median, "most", max(taken))
        self.iptables("-F")
        self.online()
        self.make("three")
        _, stale, body = self.ask(self.connect(), CONFIGMAPS)
        self.assertEqual((stale, b'"three"' in body), (False, True))

    def write(self, connection: HTTPSConnection, name: str, value: str) -> int:
        """The status of a PATCH, as a kubelet renews its Lease."""
        body = json.dumps({"metadata": {"annotations": {"at": value}}})
        headers = {"Content-Type": "application/merge-patch+json"}
        connection.request("PATCH", f"{CONFIGMAPS}/{name}", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def upstream_ports(self) -> set[str]:
        """Those from which lite-apiserver has connections to the API server."""
        arguments = ("-Htnp", "state", "established", "dst", INSIDE)
        found = subprocess.run(["ss", *arguments], check=True, capture_output=True, text=True).stdout
        own = f"pid={self.lite.process},"
        return {line.split()[2].rpartition(":")[2] for line in found.splitlines() if own in line}

    def test_3_present_connections_go_silent(self) -> None:
        """A kubelet's reads and writes work again over new connections before its Lease expires."""
        self.make("lease")
        taken = []
        for number in range(3):
            connection = self.connect()
            self.ask(connection, f"{CONFIGMAPS}/lease")
            self.assertEqual(self.write(connection, "lease", f"before {number}"), 200)
            ports = self.upstream_ports()
            self.assertTrue(ports)
            for port in ports:
                self.drop("-p", "tcp", "--sport", port)
                self.iptables("-A", "OUTPUT", "-o", "eth0", "-p", "tcp", "--dport", port, "-j", "DROP")
            started, status = time.monotonic(), 0
            while status != 200:
                _, stale, _ = self.ask(connection, f"{CONFIGMAPS}/lease")
                status = self.write(connection, "lease", f"after {number}")
                self.assertLess(time.monotonic() - started, 40)
                if status != 200 or stale:
                    time.sleep(2)
            taken.append(time.monotonic() - started)
            self.iptables("-F")
        self.report("written again after", *taken)

    def test_4_the_first_write_after_it_is_back(self) -> None:
        self.make("first")
        taken = []
        for number in range(RETURNS):
            self.drop()
            wait_until(lambda: self.lite.state == "offline", "it is offline")
            connection = self.connect()
            self.assertEqual(self.write(connection, "first", "offline"), 503)
            self.iptables("-F")
            started = time.monotonic()
            while self.write(connection, "first", f"back {number}") != 200:
                self.assertLess(time.monotonic() - started, 20)
                time.sleep(0.1)
            taken.append(time.monotonic() - started)
            self.online()
        self.report("median", statistics.median(taken), "most", max(taken), *taken)

    def report(self, *what: Any) -> None:
        words = [f"{each * 1000:.1f} ms" if isinstance(each, float) else str(each) for each in what]
        sys.stdout.write(f"[{' '.join(words)}] ")
