"""Services and EndpointSlices as the API server sends them."""

from __future__ import annotations

import json
from typing import Any

from superedge.dns.cluster.objects import read_service, read_slice
from superedge.dns.cluster.zone import ClusterZone
from superedge.kube.reflector import Key


def service(*addresses: str, ports: list[dict[str, Any]] | None = None, **spec: Any) -> bytes:
    """With cluster IPs; without any it is headless."""
    ips = list(addresses) or ["None"]
    whole = {"clusterIP": ips[0], "clusterIPs": ips, "ports": ports or [], **spec}
    return json.dumps({"metadata": {"name": "x"}, "spec": whole}).encode()


def external(name: str) -> bytes:
    return json.dumps({"metadata": {}, "spec": {"type": "ExternalName", "externalName": name}}).encode()


def endpoint(*addresses: str, ready: bool | None = True, hostname: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"addresses": list(addresses), "conditions": {"ready": ready}}
    return {**found, "hostname": hostname} if hostname else found


def endpoint_slice(
    of: str, *endpoints: dict[str, Any], family: str = "IPv4", ports: list[dict[str, Any]] | None = None
) -> bytes:
    labels = {"kubernetes.io/service-name": of}
    return json.dumps(
        {
            "metadata": {"labels": labels},
            "addressType": family,
            "endpoints": list(endpoints),
            "ports": ports or [],
        }
    ).encode()


HTTP = {"name": "http", "protocol": "TCP", "port": 80}
DNS = {"name": "dns", "protocol": "UDP", "port": 53}


class Cluster:
    """A zone, with objects put in by name."""

    def __init__(self, pods: bool = True, domain: str = "cluster.local") -> None:
        self.zone = ClusterZone(domain, 5, [bytes([169, 254, 20, 10])], pods)

    def service(self, name: str, raw: bytes | None, namespace: str = "default") -> None:
        self.zone.put_service(Key(namespace, name), read_service(raw) if raw else None)

    def slice(self, name: str, raw: bytes | None, namespace: str = "default") -> None:
        self.zone.put_slice(Key(namespace, name), read_slice(raw) if raw else None)
