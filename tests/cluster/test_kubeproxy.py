"""A real kube-proxy behind lite-apiserver, in a network namespace of its own: Services lead to endpoints."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from superedge.testing.contracts.client import Client
from tests.cluster.clients import build
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.iproute import ip
from tests.cluster.lite import LiteAPIServer
from tests.cluster.named import NamedServer

NODE = "shop-9"
HOST, NEAR = "198.18.30.1", "198.18.30.2"
SERVICE = "10.96.0.50"
# What a client in the namespace does: one request, its answer printed.
ASK = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=2).read().decode())"
# The same, of the Service kubernetes.
ASK_API = """
import ssl, sys, urllib.request as r
context = ssl.create_default_context(cafile=sys.argv[1])
context.load_cert_chain(sys.argv[2], sys.argv[3])
answer = r.urlopen("https://10.96.0.1/api/v1/namespaces/default", timeout=2, context=context)
sys.stdout.write(f"{answer.getheader('Warning')} {answer.read().decode()}")
"""


class KubeProxyTests(EnvironmentCase):
    """kube-proxy in iptables mode."""

    lite: LiteAPIServer
    direct: Client
    kubeconfig: Path
    namespace = "superedge-proxy"

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        cluster = environment.cluster
        cluster.up()
        cls._delete_namespace()
        cls._make_namespace()
        cls.lite = LiteAPIServer(environment, listen=HOST, advertise=True)
        user = cluster.certificate("system:kube-proxy", [], file="kube-proxy")
        path = cluster.kubeconfig(user, environment.directory / "proxy.kubeconfig", cls.lite.url)
        content = json.loads(path.read_text())
        content["clusters"][0]["cluster"]["tls-server-name"] = "127.0.0.1"
        path.write_text(json.dumps(content))
        cls.kubeconfig = path
        admin = cluster.certificate("admin", ["system:masters"])
        cls.direct = Client(cluster.server, cluster.pki / "ca.crt", admin.certificate, admin.key)

    @classmethod
    def _make_namespace(cls) -> None:
        """As a node has it after it booted: no rules."""
        ip("netns", "add", cls.namespace)
        ip("link", "add", "superedge-p0", "type", "veth", "peer", "name", "eth0", "netns", cls.namespace)
        ip("address", "add", f"{HOST}/30", "dev", "superedge-p0")
        ip("link", "set", "superedge-p0", "up")
        for command in (
            ("address", "add", f"{NEAR}/30", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", HOST),
        ):
            ip("-n", cls.namespace, *command)

    @classmethod
    def _delete_namespace(cls) -> None:
        subprocess.run(["ip", "netns", "delete", cls.namespace], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", "superedge-p0"], capture_output=True, check=False)

    def start_proxy(self) -> subprocess.Popen[bytes]:
        command = [
            "ip",
            "netns",
            "exec",
            self.namespace,
            build("kubeproxy"),
            f"--kubeconfig={self.kubeconfig}",
            f"--hostname-override={NODE}",
            "--proxy-mode=iptables",
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
            "--iptables-min-sync-period=100ms",
        ]
        with (self.environment.directory / "kube-proxy.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def ask(self, address: str = SERVICE) -> str:
        """What a program of the node gets from the Service."""
        command = ["ip", "netns", "exec", self.namespace, sys.executable, "-c", ASK, f"http://{address}/"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def ask_api(self) -> str:
        """What a program gets that finds the API server as those in pods do."""
        admin = self.lite.admin
        files = [str(self.environment.cluster.pki / "ca.crt"), str(admin.certificate), str(admin.key)]
        command = ["ip", "netns", "exec", self.namespace, sys.executable, "-c", ASK_API, *files]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def make(self, path: str, body: dict[str, Any]) -> None:
        answer = self.direct.call("POST", path, body)
        self.assertEqual(answer.status, 201, answer.body)

    def slice_of(self, name: str, port: int) -> dict[str, Any]:
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [HOST], "conditions": {"ready": True}}],
            "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        }

    def test_services_online_in_an_outage_after_a_reboot_and_after_recovery(self) -> None:
        self.addCleanup(self._delete_namespace)
        cluster, lite = self.environment.cluster, self.lite
        first, second = NamedServer("first", HOST), NamedServer("second", HOST)
        self.addCleanup(first.stop)
        self.addCleanup(second.stop)
        self.make("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        status = {"status": {"addresses": [{"type": "InternalIP", "address": NEAR}]}}
        patched = self.direct.call(
            "PATCH", f"/api/v1/nodes/{NODE}/status", status, content_type="application/merge-patch+json"
        )
        self.assertEqual(patched.status, 200, patched.body)
        spec = {"clusterIP": SERVICE, "ports": [{"port": 80}]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}
        self.make("/api/v1/namespaces/default/services", service)
        slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        self.make(slices, self.slice_of("web", first.port))
        proxy = self.start_proxy()
        wait_until(lambda: self.ask() == "first", "the Service leads to its endpoint")
        wait_until(lambda: "None {" in self.ask_api(), "the Service kubernetes leads to lite-apiserver")

        cluster.stop("kube-apiserver", signal.SIGKILL)
        wait_until(lambda: lite.state == "offline", "the outage is noticed")
        self.assertEqual(self.ask(), "first")
        self.assertIn("110 - ", self.ask_api())

        # The node reboots without the cloud.
        proxy.kill()
        proxy.wait()
        self._delete_namespace()
        lite.crash()
        self._make_namespace()
        self.assertEqual(self.ask(), "")
        lite.start()
        wait_until(lambda: lite.state == "offline", "lite-apiserver is back")
        self.start_proxy()
        wait_until(lambda: self.ask() == "first", "the Service leads to its endpoint again")
        self.assertIn("110 - ", self.ask_api())

        cluster.start("kube-apiserver")
        cluster.wait_until_ready()
        changed = self.direct.call(
            "PATCH",
            f"{slices}/web",
            {"ports": [{"name": "", "port": second.port, "protocol": "TCP"}]},
            content_type="application/merge-patch+json",
        )
        self.assertEqual(changed.status, 200, changed.body)
        wait_until(lambda: self.ask() == "second", "changes reach the node again")
