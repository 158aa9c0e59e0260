"""The application grid from kubectl to a node's client: controller, EndpointSlice controller, and the filter.

No kubelet runs: this test says of each pod that it is ready and which address it has.
"""

from __future__ import annotations

import json
import time
from typing import Any

from superedge.testing.contracts.client import STRATEGIC_PATCH, Client
from superedge.testing.ports import free_port
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.lite import LiteAPIServer

KEY = "example.com/site"
NODES = {"alpha-1": "alpha", "beta-1": "beta"}
OWN = "alpha-1"
"""The node on which lite-apiserver is."""
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
SERVICE = "kubernetes.io/service-name=shop-svc"
LABELS = {"app": "shop"}
TEMPLATE = {
    "replicas": 1,
    "selector": {"matchLabels": LABELS},
    "template": {
        "metadata": {"labels": LABELS},
        "spec": {"containers": [{"name": "main", "image": "shop:1", "ports": [{"containerPort": 80}]}]},
    },
}
GRIDS = {
    "DeploymentGrid": TEMPLATE,
    "ServiceGrid": {"selector": LABELS, "ports": [{"port": 80}]},
}


class Follower:
    """A client of lite-apiserver that lists once, then watches."""

    def __init__(self, client: Client) -> None:
        page = client.call("GET", SLICES, labelSelector=SERVICE).json
        self._slices = {item["metadata"]["name"]: item for item in page["items"]}
        version = page["metadata"]["resourceVersion"]
        self._watch = client.watch(SLICES, labelSelector=SERVICE, resourceVersion=version)

    @property
    def addresses(self) -> set[str]:
        """Of all endpoints that it was shown."""
        return {
            address
            for item in self._slices.values()
            for endpoint in item["endpoints"] or ()
            for address in endpoint["addresses"]
        }

    def until(self, *wanted: str) -> None:
        """Read events until these addresses are shown, and no other."""
        while self.addresses != set(wanted):
            kind, item = self._watch.next()
            if kind == "DELETED":
                del self._slices[item["metadata"]["name"]]
            else:
                self._slices[item["metadata"]["name"]] = item


class GridWholeTests(EnvironmentCase):
    """One story."""

    direct: Client
    lite: LiteAPIServer

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        cluster = environment.cluster
        cluster.up(controllers=True)
        admin = cluster.certificate("admin", ["system:masters"])
        cls.direct = Client(cluster.server, cluster.pki / "ca.crt", admin.certificate, admin.key)
        for name, site in NODES.items():
            labels = {KEY: site, "kubernetes.io/hostname": name}
            cls.call("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            room = {"cpu": "8", "memory": "8Gi", "pods": "110"}
            ready = {
                "type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now,
            }  # fmt: skip
            status = {"conditions": [ready], "capacity": room, "allocatable": room}
            cls.call("PATCH", f"/api/v1/nodes/{name}/status", {"status": status})
        environment.twistd(
            "cloud",
            "superedge-cloud",
            f"""[ops]
listen = "127.0.0.1:{free_port()}"
[kubernetes]
kubeconfig = "{environment.kubeconfig}"
[application_grid]
install_crds = true
""",
        )
        cluster.certificate("system:kube-proxy", file="kube-proxy")
        cls.lite = LiteAPIServer(
            environment,
            settings='filters = ["grid"]\nfilter_identity = "system:kube-proxy"',
            more=f'[lite_apiserver.filter_options.grid]\nnode = "{OWN}"',
        )
        for kind in GRIDS:
            crd = f"{kind.lower()}s.superedge.io"
            wait_until(
                lambda crd=crd: (
                    not environment.try_kubectl(  # type: ignore[misc]
                        "wait", "--for=condition=Established", "crd", crd, "--timeout=5s"
                    ).returncode
                ),
                f"{crd} is there",
            )

    @classmethod
    def call(cls, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        kind = STRATEGIC_PATCH if method == "PATCH" else "application/json"
        answer = cls.direct.call(method, path, body, content_type=kind)
        if answer.status >= 300:
            raise AssertionError(f"{method} {path}: {answer.body.decode()}")
        return answer.json

    def pod_runs(self, node: str, address: str) -> None:
        """A pod without an address that was scheduled to the node has this one, and is ready."""
        pods = "/api/v1/namespaces/default/pods"

        def waiting() -> list[str]:
            return [
                item["metadata"]["name"]
                for item in self.call("GET", pods)["items"]
                if item["spec"].get("nodeName") == node and "podIP" not in item["status"]
            ]

        name = wait_until(waiting, f"a pod for {node}", 30)[0]
        ready = {"type": "Ready", "status": "True"}
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}
        self.call("PATCH", f"{pods}/{name}/status", {"status": status})

    def move(self, node: str, site: str) -> None:
        """The node is in another site."""
        self.environment.kubectl("label", "--overwrite", "node", node, f"{KEY}={site}")

    def test_from_kubectl_to_a_nodes_client(self) -> None:
        kubectl = self.environment.kubectl
        for kind, template in GRIDS.items():
            spec = {"gridUniqKey": KEY, "template": template}
            head = {"apiVersion": "superedge.io/v1", "kind": kind, "metadata": {"name": "shop"}}
            kubectl("apply", "-f", "-", stdin=json.dumps({**head, "spec": spec}))
        self.pod_runs("alpha-1", "10.1.0.1")
        self.pod_runs("beta-1", "10.2.0.1")

        def all_addresses() -> set[str]:
            items = self.direct.call("GET", SLICES, labelSelector=SERVICE).json["items"]
            return {each["addresses"][0] for item in items for each in item["endpoints"] or ()}

        wait_until(lambda: all_addresses() == {"10.1.0.1", "10.2.0.1"}, "the Service has both", 20)
        pki = self.environment.cluster.pki
        proxy = Client(self.lite.url, pki / "ca.crt", pki / "kube-proxy.crt", pki / "kube-proxy.key")
        follower = Follower(proxy)
        follower.until("10.1.0.1")

        # A pod more at the site, which the controller leaves to who scaled it.
        kubectl("scale", "deployment", "shop-alpha", "--replicas=2")
        self.pod_runs("alpha-1", "10.1.0.2")
        follower.until("10.1.0.1", "10.1.0.2")
        # Nodes change their sites: another one, then the client's own.
        self.move("beta-1", "alpha")
        follower.until("10.1.0.1", "10.1.0.2", "10.2.0.1")
        self.move(OWN, "gamma")
        follower.until("10.1.0.1", "10.1.0.2")
        wait_until(lambda: "shop-gamma" in kubectl("get", "deployments", "-o", "name"), "its workload", 20)
        self.assertEqual(kubectl("get", "deployment", "shop-alpha", "-o", "jsonpath={.spec.replicas}"), "2")
