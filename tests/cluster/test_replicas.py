"""A real API server that finds a real kubelet by its node's name alone, through two cloud ends.

The API server runs in a network namespace whose name servers are the cloud ends' own; it dials NODE:PORT,
which leads to the `tls` listener of the replica that holds the node. No egress selector.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.request
from typing import Any

from superedge.testing.ports import free_port
from superedge.tls.authority import Authority
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.namespace import NetworkNamespace
from tests.cluster.test_tunnel import read_lines
from tests.controlplane.cluster import Cluster

NODE = "shop-1"
POD = "web"
INSIDE = "198.19.77.2"
OUTSIDE = {"a": "198.19.77.1", "b": "198.19.77.3"}

CLOUD = """
[kubernetes]
kubeconfig = "{directory}/cluster/admin.kubeconfig"
[tunnel_cloud]
listen = "{address}:{tunnel}"
certificate = "pki/cloud.crt"
key = "pki/cloud.key"
ca = ["pki/ca.crt"]
registry = "kubernetes"
node_objects = true
drain_timeout = 20.0
[tunnel_cloud.replicas]
name = "{name}"
namespace = "kube-system"
listen = "{address}:{peer}"
advertise = "{address}:{peer}"
ca = ["pki/ca.crt"]
names = ["superedge-cloud"]
lease_duration = 4
drain_delay = 2.0
[[tunnel_cloud.listeners]]
kind = "tls"
listen = "{address}:{kubelet}"
target = "127.0.0.1:{kubelet}"
[tunnel_dns]
listen = ["{address}:53"]
unconnected = "nxdomain"
hosts_configmap = "kube-system/superedge-hosts"
"""

EDGE = """
[tunnel_edge]
drain_timeout = 1.0
servers = ["{a}:{tunnel}", "{b}:{tunnel}"]
server_name = "superedge-cloud"
certificate = "pki/node.crt"
key = "pki/node.key"
ca = ["pki/ca.crt"]
allow = ["127.0.0.1:{kubelet}"]
reconnect_initial = 0.2
"""


class NodeNameTests(EnvironmentCase):
    """One node, moved from one replica to the other under everything that kubectl does."""

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        name = f"se-{os.getpid()}"
        namespace = NetworkNamespace(name, INSIDE, list(OUTSIDE.values()))
        environment.last.append(namespace.remove)
        environment.cluster = Cluster(environment.directory / "cluster", INSIDE, name)
        pki = environment.directory / "pki"
        authority = Authority.create(pki)
        authority.issue("superedge-cloud", dns=["superedge-cloud"], directory=pki, name="cloud")
        authority.issue(f"system:node:{NODE}", directory=pki, name="node")
        environment.cluster.up(
            controllers=True, apiserver_arguments=["--kubelet-preferred-address-types=Hostname"]
        )
        worker = environment.worker(NODE)
        tunnel, peer = free_port(), free_port()
        for replica, address in OUTSIDE.items():
            environment.twistd(
                replica,
                "superedge-cloud",
                CLOUD.format(
                    name=replica,
                    address=address,
                    directory=environment.directory,
                    tunnel=tunnel,
                    peer=peer,
                    kubelet=worker.port,
                ),
            )
        environment.twistd(
            "edge", "superedge-edge", EDGE.format(tunnel=tunnel, kubelet=worker.port, **OUTSIDE)
        )
        environment.run_pod(POD, NODE)
        wait_until(lambda: environment.try_kubectl("logs", POD).returncode == 0, "the tunnel is up")

    def holder(self) -> str:
        """The replica to which the edge connected last."""
        found = re.findall(
            r"tunnel session started with ([\d.]+):", (self.environment.directory / "edge.log").read_text()
        )
        return next(name for name, address in OUTSIDE.items() if address == found[-1])

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self.environment.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            **options,
        )
        self.addCleanup(self._end, process)
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    def forward(self) -> int:
        """A port-forward to the pod; its local port."""
        process = self.start("port-forward", f"pod/{POD}", ":8080")
        assert process.stdout is not None
        (line,) = read_lines(process.stdout, 1)
        return int(line.split("127.0.0.1:")[1].split()[0])

    def fetch(self, port: int) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=20) as answer:
            return bytes(answer.read())

    def everything_works(self) -> None:
        environment = self.environment
        self.assertIn("tick ", environment.kubectl("logs", "--tail=3", POD))
        data = os.urandom(100_000).hex()
        self.assertEqual(environment.kubectl("exec", "-i", POD, "--", "cat", stdin=data), data)
        self.assertEqual(self.fetch(self.forward()), b"served\n")

    def test_a_node_moves(self) -> None:
        environment = self.environment
        environment.kubectl("exec", POD, "--", "sh", "-c", "echo served > /tmp/page")
        self.everything_works()
        first = self.holder()
        (second,) = set(OUTSIDE) - {first}
        # What is open when the replica is told to stop: logs, an exec that talks, a port-forward.
        logs = self.start("logs", "-f", "--tail=1", POD)
        assert logs.stdout is not None
        numbers = [int(line.split()[1]) for line in read_lines(logs.stdout, 2)]
        talking = self.start("exec", "-i", POD, "--", "cat", stdin=subprocess.PIPE)
        assert talking.stdin is not None and talking.stdout is not None
        talking.stdin.write(b"one\n")
        self.assertEqual(read_lines(talking.stdout, 1), ["one"])
        forwarded = self.forward()
        self.assertEqual(self.fetch(forwarded), b"served\n")
        stopping = environment.processes.pop(first)
        stopping.send_signal(signal.SIGTERM)
        # New ones, all the time that the node moves.
        failures: list[str] = []
        rounds = 0
        end = time.monotonic() + 8
        while time.monotonic() < end or self.holder() == first:
            done = environment.try_kubectl("exec", POD, "--", "echo", "new")
            rounds += 1
            if done.stdout != "new\n":
                failures.append(done.stderr)
        self.assertEqual((failures, rounds > 5), ([], True))
        self.assertEqual(self.holder(), second)
        self.everything_works()
        # The old ones still go on.
        self.assertIsNone(stopping.poll(), "it waits for its streams")
        numbers += [int(line.split()[1]) for line in read_lines(logs.stdout, 3)]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 5)))
        talking.stdin.write(b"two\n")
        self.assertEqual(read_lines(talking.stdout, 1), ["two"])
        self.assertEqual(self.fetch(forwarded), b"served\n")
        talking.stdin.close()
        self.assertEqual(talking.wait(20), 0)
        self.assertEqual(stopping.wait(40), 0)
        self.assertNotIn("Traceback", (environment.directory / f"{first}.log").read_text())
        self.everything_works()
        hosts = environment.kubectl(
            "-n", "kube-system", "get", "configmap", "superedge-hosts", "-o", "jsonpath={.data.hosts}"
        )
        wait_until(lambda: hosts == f"{OUTSIDE[second]} {NODE}\n", f"hosts: {hosts}", 10)
        # It is back; then the other one dies without a word.
        environment.twistd(first, "superedge-cloud")
        wait_until(lambda: "Lease" in self.leases(first), "the first replica is back")
        environment.end(second, signal.SIGKILL)
        wait_until(
            lambda: environment.try_kubectl("exec", POD, "--", "echo", "new").stdout == "new\n",
            "the node is reached through the replica that lives",
            30,
        )
        self.assertEqual(self.holder(), first)
        self.everything_works()

    def leases(self, replica: str) -> str:
        found = self.environment.try_kubectl(
            "-n", "kube-system", "get", "lease", f"superedge-tunnel-{replica}", "-o", "jsonpath={.kind}"
        )
        return found.stdout
