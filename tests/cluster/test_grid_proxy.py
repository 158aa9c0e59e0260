"""Traffic of a grid stays in its site: real kube-proxies behind lite-apiservers with the filter ``grid``.

Three sites of two nodes each. A node of each mode runs kube-proxy in a network namespace of its own, where a
client asks a Service by its address. Endpoints are HTTP servers on this machine that say their names.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from superedge.testing.contracts.client import Client
from superedge.testing.ports import free_port
from tests.cluster.clients import build
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.iproute import ip, try_ip
from tests.cluster.named import NamedServer

KEY = "example.org/shop"
DEVICE, NEAR = "gridnode-pods", "198.18.41"
PORT = 8080
PODS = ("a-1", "a-2", "b-1", "b-2", "c-1", "c-2")
SERVICE, PLAIN = "10.96.0.60", "10.96.0.61"
JSON, MERGE = "application/json", "application/merge-patch+json"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
# What a client on a node does: many connections, one after the other; what it got, once each, and how long
# the slowest took.
ASK = """
import json, sys, time, urllib.error, urllib.request as r
found, slowest = set(), 0.0
for _ in range(int(sys.argv[2])):
    began = time.monotonic()
    try:
        found.add(r.urlopen(sys.argv[1], timeout=2).read().decode())
    except urllib.error.URLError as problem:
        found.add(type(problem.reason).__name__)
    except OSError as problem:
        found.add(type(problem).__name__)
    slowest = max(slowest, time.monotonic() - began)
print(json.dumps([sorted(found), slowest]))
"""


class Node:
    """A node: a network namespace with kube-proxy, and its lite-apiserver on this machine."""

    def __init__(self, environment: Environment, name: str, mode: str, number: int, cloud: int) -> None:
        self._environment = environment
        self.name = name
        self._mode = mode
        self.namespace = f"gridnode-{name}"
        self._cable = f"gridnode{number}"
        self._host, self._near = f"198.18.4{number}.1", f"198.18.4{number}.2"
        self._port, self._ops, self.dns = free_port(), free_port(), free_port()
        self._lite = f"lite-{name}"
        self._proxy = f"proxy-{name}"
        cluster = environment.cluster
        user = cluster.certificate("system:kube-proxy", [], file="kube-proxy")
        path = environment.directory / f"{name}.kubeconfig"
        self._kubeconfig = cluster.kubeconfig(user, path, f"https://{self._host}:{self._port}")
        content = json.loads(path.read_text())
        content["clusters"][0]["cluster"]["tls-server-name"] = "127.0.0.1"
        path.write_text(json.dumps(content))
        # The DNS server is on this machine as its lite-apiserver is.
        dns = environment.directory / f"{name}.dns.kubeconfig"
        content["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self._port}"
        dns.write_text(json.dumps(content))
        pki = cluster.pki
        (environment.directory / f"{self._lite}.toml").write_text(f"""[ops]
listen = "127.0.0.1:{self._ops}"
[kubernetes]
kubeconfig = "{dns}"
[local_dns]
listen = ["127.0.0.1:{self.dns}"]
snapshot = "{environment.directory}/{name}.snapshot"
[lite_apiserver]
listen = ["{self._host}:{self._port}", "127.0.0.1:{self._port}"]
advertise = "{self._host}:{self._port}"
certificate = "{pki}/apiserver.crt"
key = "{pki}/apiserver.key"
client_ca = ["{pki}/ca.crt"]
identities = ["{pki}"]
filters = ["grid"]
filter_identity = "system:kube-proxy"
[lite_apiserver.filter_options.grid]
node = "{name}"
[lite_apiserver.upstream]
servers = ["127.0.0.1:{cloud}"]
ca = ["{pki}/ca.crt"]
probe_interval = 1.0
[lite_apiserver.cache]
path = "{name}-cache"
""")

    def wire(self) -> None:
        """Make the namespace, as it is after a boot: no rules."""
        ip("netns", "add", self.namespace)
        ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        ip("address", "add", f"{self._host}/30", "dev", self._cable)
        ip("link", "set", self._cable, "up")
        for command in (
            ("address", "add", f"{self._near}/30", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", self._host),
        ):
            ip("-n", self.namespace, *command)

    def unwire(self) -> None:
        """Take the namespace away, there or not."""
        try_ip("netns", "delete", self.namespace)
        try_ip("link", "delete", self._cable)

    def start_lite(self) -> None:
        """Start lite-apiserver and the DNS server."""
        self._environment.twistd(self._lite, "superedge-edge")

    def start_proxy(self) -> None:
        """Start kube-proxy."""
        command = [
            *("ip", "netns", "exec", self.namespace, build("kubeproxy")),
            f"--kubeconfig={self._kubeconfig}",
            f"--hostname-override={self.name}",
            f"--proxy-mode={self._mode}",
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
            "--iptables-min-sync-period=50ms",
        ]
        with (self._environment.directory / f"{self._proxy}.log").open("ab") as log:
            self._environment.processes[self._proxy] = subprocess.Popen(command, stdout=log, stderr=log)

    def power_off(self) -> None:
        """kill -9 everything, and forget the rules."""
        for name in (self._proxy, self._lite):
            self._environment.end(name, signal.SIGKILL)
        self.unwire()

    @property
    def state(self) -> str:
        """Whether its lite-apiserver is online; empty while it does not answer."""
        return str(self._environment.status(self._ops).get("state", ""))

    def ask(self, address: str = SERVICE, times: int = 12) -> tuple[set[str], float]:
        """Whom a client on the node reaches, and the seconds of the slowest answer."""
        command = ["ip", "netns", "exec", self.namespace, sys.executable, "-c", ASK]
        done = subprocess.run(
            [*command, f"http://{address}/", str(times)], capture_output=True, text=True, check=True
        )
        found, slowest = json.loads(done.stdout)
        return set(found), slowest

    def resolve(self, name: str) -> set[str]:
        """What the node's DNS server answers."""
        command = ["dig", "@127.0.0.1", "-p", str(self.dns), "+time=1", "+tries=1", "+short", name, "A"]
        return set(subprocess.run(command, capture_output=True, text=True, check=False).stdout.split())


class GridProxyTests(EnvironmentCase):
    """kube-proxy in both modes."""

    direct: Client
    nodes: list[Node]
    port: int
    """Of the link to the cloud."""

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        cluster = environment.cluster
        cluster.up()
        cls.port = free_port()
        try_ip("link", "delete", DEVICE)
        ip("link", "add", DEVICE, "type", "bridge")
        ip("link", "set", DEVICE, "up")
        environment.last.append(lambda: try_ip("link", "delete", DEVICE))
        cls.nodes = [
            Node(environment, "a-1", "iptables", 2, cls.port),
            Node(environment, "b-1", "nftables", 3, cls.port),
        ]
        for node in cls.nodes:
            node.unwire()
            environment.last.append(node.unwire)
            node.wire()
        for number, name in enumerate(PODS):
            address = f"{NEAR}.{number + 1}"
            ip("address", "add", f"{address}/32", "dev", DEVICE)
            environment.last.append(NamedServer(name, address, PORT).stop)
        admin = cluster.certificate("admin", ["system:masters"])
        cls.direct = Client(cluster.server, cluster.pki / "ca.crt", admin.certificate, admin.key)

    # -- the cloud

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        answer = self.direct.call(method, path, body, content_type=MERGE if method == "PATCH" else JSON)
        self.assertIn(answer.status, (200, 201), answer.body)

    def link_up(self) -> None:
        command = [sys.executable, "-m", "superedge.testing.link"]
        command.append(f"{self.port}:{self.environment.cluster.port}")
        self.environment.processes["link"] = subprocess.Popen(command)

    def link_down(self) -> None:
        self.environment.end("link", signal.SIGKILL)

    def service(self, name: str, address: str, annotations: dict[str, str]) -> None:
        spec = {"clusterIP": address, "ports": [{"port": 80}]}
        meta = {"name": name, "annotations": annotations}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
        self.call("POST", "/api/v1/namespaces/default/services", body)

    def endpoints(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        return [
            {
                "addresses": [f"{NEAR}.{PODS.index(name) + 1}"],
                "nodeName": name,
                "conditions": {"ready": True},
            }
            for name in names
        ]

    def slice(self, name: str) -> None:
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": self.endpoints(PODS),
            "ports": [{"name": "", "port": PORT, "protocol": "TCP"}],
        }
        self.call("POST", SLICES, body)

    def run_on(self, *names: str) -> None:
        """Pods of the grid run on these nodes."""
        self.call("PATCH", f"{SLICES}/web", {"endpoints": self.endpoints(names)})

    def move(self, node: str, site: str) -> None:
        """A node changes its site."""
        self.call("PATCH", f"/api/v1/nodes/{node}", {"metadata": {"labels": {KEY: site}}})

    # -- what nodes see

    def reaches(self, node: Node, *names: str, address: str = SERVICE) -> None:
        """Until a client on the node reaches all of these, and no other."""
        wanted = set(names)
        times = 12 * len(names)  # each endpoint is chosen at random
        wait_until(lambda: node.ask(address, times)[0] == wanted, f"{node.name} reaches {wanted}", 90)

    def test_traffic_stays_in_its_site(self) -> None:
        a, b = self.nodes
        for name in PODS:
            body = {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {KEY: name[0]}},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": f"{NEAR}.{PODS.index(name) + 1}"}]
                },
            }
            self.call("POST", "/api/v1/nodes", body)
        annotations = {"topologyKeys": json.dumps([KEY])}
        self.service("web", SERVICE, annotations)
        self.service("plain", PLAIN, {})
        self.service("db", "None", annotations)
        for name in ("web", "plain", "db"):
            self.slice(name)
        self.link_up()
        for node in self.nodes:
            node.start_lite()
            node.start_proxy()
        self.reaches(a, "a-1", "a-2")
        self.reaches(b, "b-1", "b-2")
        self.reaches(a, *PODS, address=PLAIN)
        own = {f"{NEAR}.1", f"{NEAR}.2"}
        wait_until(lambda: a.resolve("db.default.svc.cluster.local") == own, "a headless Service of the grid")

        # Pods come and go, and a node changes its site.
        self.run_on("a-2", "b-1", "c-1")
        self.reaches(a, "a-2")
        self.reaches(b, "b-1")
        self.move("a-2", "b")
        self.reaches(b, "b-1", "a-2")
        self.assertEqual(a.resolve("db.default.svc.cluster.local"), {f"{NEAR}.1"})
        found, slowest = a.ask(times=4)
        self.assertEqual(found, {"ConnectionRefusedError"}, "no pod in the site: refused, not sent elsewhere")
        self.assertLess(slowest, 1.5)
        self.move("a-2", "a")
        self.run_on(*PODS)
        self.reaches(a, "a-1", "a-2")
        self.reaches(b, "b-1", "b-2")

        # The link is cut; then the nodes reboot without it. Meanwhile the cloud changes.
        self.link_down()
        wait_until(lambda: all(node.state == "offline" for node in self.nodes), "the outage is noticed")
        self.assertEqual(a.ask()[0], {"a-1", "a-2"})
        self.move("c-1", "a")
        for node in self.nodes:
            node.power_off()
            node.wire()
            node.start_lite()
            node.start_proxy()
        self.reaches(a, "a-1", "a-2")
        self.reaches(b, "b-1", "b-2")
        self.reaches(b, *PODS, address=PLAIN)
        self.assertEqual(a.resolve("db.default.svc.cluster.local"), own)

        # The link is back: a change from the outage, then one of the Service's annotation.
        self.link_up()
        self.reaches(a, "a-1", "a-2", "c-1")
        self.call("PATCH", "/api/v1/namespaces/default/services/web", {"metadata": {"annotations": None}})
        self.reaches(b, *PODS)
