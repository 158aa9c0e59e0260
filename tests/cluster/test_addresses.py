"""A real API server that dials nodes and pods by address, through the `connect` listener."""

from __future__ import annotations

import json
import signal
import socket
from typing import Any

from superedge.testing.ports import free_port
from superedge.tls.authority import Authority
from tests.cluster.environment import Environment, EnvironmentCase, wait_until

NODE = "shop-1"
POD = "web"
PODS = "198.18.5.0/24"


class AddressTests(EnvironmentCase):
    """Node objects say whose the addresses are."""

    port: int

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        directory = environment.directory
        pki = directory / "pki"
        authority = Authority.create(pki)
        authority.issue("tunnel", dns=["localhost"], ips=["127.0.0.1"], directory=pki)
        authority.issue(f"system:node:{NODE}", ["system:nodes"], directory=pki)
        transport = {"uds": {"udsName": f"{directory}/egress.sock"}}
        connection = {"proxyProtocol": "HTTPConnect", "transport": transport}
        selector: dict[str, Any] = {
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [{"name": "cluster", "connection": connection}],
        }
        (directory / "egress.json").write_text(json.dumps(selector))
        environment.cluster.up(
            controllers=True,
            apiserver_arguments=[
                f"--egress-selector-config-file={directory}/egress.json",
                "--kubelet-preferred-address-types=InternalIP",
            ],
        )
        port = cls.port = free_port()
        environment.twistd(
            "cloud",
            "superedge-cloud",
            f"""[kubernetes]
kubeconfig = "cluster/admin.kubeconfig"
[tunnel_cloud]
listen = "127.0.0.1:{port}"
certificate = "pki/tunnel.crt"
key = "pki/tunnel.key"
ca = ["pki/ca.crt", "cluster/pki/ca.crt"]
node_objects = true
node_ranges = ["0.0.0.0/0"]
pod_ranges = ["198.18.0.0/16"]
reserved_ranges = ["10.96.0.0/16"]
[[tunnel_cloud.listeners]]
kind = "connect"
listen = "unix:{directory}/egress.sock"
""",
        )
        worker = environment.worker(NODE)
        environment.twistd(
            "edge",
            "superedge-edge",
            f"""[tunnel_edge]
drain_timeout = 1.0
servers = ["127.0.0.1:{port}"]
certificate = "pki/system-node-{NODE}.crt"
key = "pki/system-node-{NODE}.key"
ca = ["pki/ca.crt"]
allow = ["127.0.0.1:{worker.port}", "{PODS}:8080"]
reconnect_initial = 0.2
""",
        )
        spec = json.dumps({"spec": {"podCIDR": PODS, "podCIDRs": [PODS]}})
        environment.kubectl("patch", "node", NODE, "--patch", spec)
        environment.run_pod(POD, NODE)

    def test_a_node_by_its_address(self) -> None:
        environment = self.environment
        done = wait_until(
            lambda: (tried := environment.try_kubectl("logs", "--tail=1", POD)).returncode == 0 and tried,
            "the kubelet is reached",
        )
        self.assertIn("tick ", done.stdout)

    def test_a_pod_by_its_address(self) -> None:
        """As the API server dials webhooks and aggregated API servers, and for its pod proxy."""
        environment = self.environment
        wait_until(lambda: environment.try_kubectl("logs", POD).returncode == 0, "the kubelet is reached")
        self.write_page()
        path = f"/api/v1/namespaces/default/pods/{POD}"
        self.assertEqual(environment.kubectl("get", "--raw", f"{path}:8080/proxy/page"), "served\n")
        # A port that the node's own allow list does not name stays closed.
        refused = environment.try_kubectl("get", "--raw", f"{path}:22/proxy/")
        self.assertIn("denied", refused.stderr)

    def write_page(self) -> None:
        self.environment.kubectl("exec", POD, "--", "sh", "-c", "echo served > /tmp/page")

    def log(self) -> str:
        return (self.environment.directory / "cloud.log").read_text()

    def status_line(self, target: str) -> str:
        """What the listener answers to CONNECT."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(f"{self.environment.directory}/egress.sock")
            sock.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
            return sock.recv(1000).split(b"\r\n")[0].decode()

    def edge(self, name: str, certificate: str) -> None:
        """One that dials nothing: what is led to it is refused."""
        self.environment.twistd(
            name,
            "superedge-edge",
            f"""[tunnel_edge]
servers = ["127.0.0.1:{self.port}"]
certificate = "cluster/pki/{certificate}.crt"
key = "cluster/pki/{certificate}.key"
ca = ["pki/ca.crt"]
allow = ["127.0.0.9:1"]
reconnect_initial = 0.2
""",
        )
        self.addCleanup(self.environment.end, name)

    def test_a_nodes_credentials_claim_what_is_not_its_own(self) -> None:
        environment = self.environment
        wait_until(lambda: environment.try_kubectl("logs", POD).returncode == 0, "the kubelet is reached")
        self.write_page()
        of_the_victim = '{.status.addresses[?(@.type=="InternalIP")].address}'
        victim = environment.kubectl("get", "node", NODE, "-o", f"jsonpath={of_the_victim}")
        pod = environment.kubectl("get", "pod", POD, "-o", "jsonpath={.status.podIP}")
        thief = environment.cluster.certificate("system:node:thief", ["system:nodes"], file="thief")
        kubeconfig = environment.cluster.kubeconfig(thief, environment.directory / "thief.kubeconfig")
        claims = (victim, pod, "10.96.0.1", "127.0.0.1")
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "thief"},
            "spec": {"podCIDR": PODS, "podCIDRs": [PODS]},
            "status": {"addresses": [{"type": "InternalIP", "address": host} for host in claims]},
        }
        environment.kubectl("create", "-f", "-", stdin=json.dumps(node), kubeconfig=kubeconfig)
        self.edge("thief", "thief")
        wait_until(lambda: "tunnel session of thief started" in self.log(), "the thief is connected")
        for claim in (victim, PODS):
            told = f"node thief claims the address {claim}, which node {NODE} has"
            wait_until(lambda told=told: told in self.log(), told)  # type: ignore[misc]
        path = f"/api/v1/namespaces/default/pods/{POD}:8080/proxy/page"
        for start in ("as it runs", "and after a restart"):
            with self.subTest(start):
                wait_until(lambda: environment.try_kubectl("logs", POD).returncode == 0, start)
                self.assertEqual(environment.kubectl("get", "--raw", path), "served\n")
                for target in ("10.96.0.1:443", "127.0.0.1:443", "198.18.77.1:80"):
                    self.assertIn(" 404 ", self.status_line(target), target)
                self.assertIn("denied", self.status_line("thief:443"), "it is reached by its name")
            environment.end("cloud", signal.SIGKILL)
            environment.twistd("cloud", "superedge-cloud")
            wait_until(lambda: self.log().count("tunnel session of thief started") >= 2, "the thief is back")

    def test_a_users_certificate_makes_no_node(self) -> None:
        environment = self.environment
        environment.cluster.certificate("alice", ["system:nodes"])
        environment.cluster.certificate("system:node:mallory", ["system:masters"], file="mallory")
        environment.cluster.certificate("system:node:10.96.0.1", ["system:nodes"], file="address")
        for name in ("alice", "mallory", "address"):
            self.edge(name, name)
        for told in (
            "no node's certificate: CN 'alice'",
            "no node's certificate: CN 'system:node:mallory'",
            "no node may be called '10.96.0.1'",
        ):
            wait_until(lambda told=told: told in self.log(), told)  # type: ignore[misc]
        for name in ("alice", "mallory", "10.96.0.1"):
            self.assertIn(" 404 ", self.status_line(f"{name}:443"))
