"""A real API server that dials nodes and pods by address, through the `connect` listener."""

from __future__ import annotations

import json
from typing import Any

from superedge.tls.authority import Authority
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.controlplane.cluster import free_port

NODE = "shop-1"
POD = "web"
PODS = "198.18.5.0/24"


class AddressTests(EnvironmentCase):
    """Node objects say whose the addresses are."""

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        directory = environment.directory
        pki = directory / "pki"
        authority = Authority.create(pki)
        for name in ("tunnel", f"system:node:{NODE}"):
            authority.issue(name, dns=["localhost"], ips=["127.0.0.1"], directory=pki)
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
        port = free_port()
        environment.twistd(
            "cloud",
            "superedge-cloud",
            f"""[kubernetes]
kubeconfig = "cluster/admin.kubeconfig"
[tunnel_cloud]
listen = "127.0.0.1:{port}"
certificate = "pki/tunnel.crt"
key = "pki/tunnel.key"
ca = ["pki/ca.crt"]
node_objects = true
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
        environment.kubectl("exec", POD, "--", "sh", "-c", "echo served > /tmp/page")
        path = f"/api/v1/namespaces/default/pods/{POD}"
        self.assertEqual(environment.kubectl("get", "--raw", f"{path}:8080/proxy/page"), "served\n")
        # A port that the node's own allow list does not name stays closed.
        refused = environment.try_kubectl("get", "--raw", f"{path}:22/proxy/")
        self.assertIn("denied", refused.stderr)
