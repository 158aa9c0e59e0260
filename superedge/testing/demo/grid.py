"""The demo's grid: two sites of one node each, and one definition for both."""

from __future__ import annotations

import json
from collections.abc import Callable

from superedge.testing.demo.stage import DemoError, Node, Stage, wait_until

KEY = "example.com/site"
SITES = {"edge-1": "berlin", "edge-2": "paris"}
ADDRESSES = {"edge-1": "10.64.0.2", "edge-2": "10.64.1.2"}
"""Of the pods that run on the nodes."""

_LABELS = {"app": "web"}
_GRID = {
    "apiVersion": "superedge.io/v1",
    "kind": "DeploymentGrid",
    "metadata": {"name": "web"},
    "spec": {
        "gridUniqKey": KEY,
        "template": {
            "replicas": 1,
            "selector": {"matchLabels": _LABELS},
            "template": {
                "metadata": {"labels": _LABELS},
                "spec": {"containers": [{"name": "main", "image": "test.local/box:1"}]},
            },
        },
    },
}
_SERVICE = {
    "apiVersion": "superedge.io/v1",
    "kind": "ServiceGrid",
    "metadata": {"name": "web"},
    "spec": {"gridUniqKey": KEY, "template": {"selector": _LABELS, "ports": [{"port": 80}]}},
}
_SLICE = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "web-svc-1", "labels": {"kubernetes.io/service-name": "web-svc"}},
    "addressType": "IPv4",
    "ports": [{"port": 80, "protocol": "TCP"}],
    "endpoints": [
        {"addresses": [address], "conditions": {"ready": True}, "nodeName": node}
        for node, address in ADDRESSES.items()
    ],
}
"""What a cluster's own controller makes of the pods; the embedded cluster has none."""


def apply(stage: Stage) -> str:
    """Label the nodes and apply both definitions. What kubectl says of the workloads."""
    for node, site in SITES.items():
        stage.kubectl("label", "node", node, f"{KEY}={site}")
    wait_until(lambda: _served(stage), "the grid's kinds are there")
    documents = map(json.dumps, (_GRID, _SERVICE, _SLICE))
    stage.kubectl("apply", "-f", "-", stdin="\n---\n".join(documents))
    said = wait_until(lambda: _workloads(stage), "both sites have their workload")
    wait_until(lambda: "web-svc" in stage.kubectl("get", "services", "--output=name"), "the Service is there")
    return str(said)


def _served(stage: Stage) -> bool:
    names = ("deploymentgrids", "servicegrids")
    try:
        said = stage.kubectl("api-resources", "--api-group=superedge.io", "--output=name", "--cached=false")
    except DemoError:
        return False
    return all(name in said for name in names)


def _workloads(stage: Stage) -> str:
    columns = "custom-columns=:.kind,:.metadata.name,:.spec.template.spec.nodeSelector"
    said = stage.kubectl("get", "deployments", "--no-headers", f"--output={columns}")
    return said if all(f"web-{site}" in said for site in SITES.values()) else ""


def endpoints(stage: Stage, node: Node) -> str:
    """The addresses of the Service as a client of the node's API server sees them."""
    path = "jsonpath={.items[*].endpoints[*].addresses[*]}"
    return stage.kubectl("get", "endpointslices", f"--output={path}", node=node)


def only_its_own(stage: Stage, show: Callable[[str], None], *nodes: Node) -> None:
    """Each node's clients see the endpoint of its own site alone."""
    for node in nodes:
        wait_until(
            lambda node=node: endpoints(stage, node) == ADDRESSES[node.name],  # type: ignore[misc]
            f"{node.name} sees its own site's endpoint alone",
        )
        show(f"{node.name}, {SITES[node.name]}: {ADDRESSES[node.name]}")
