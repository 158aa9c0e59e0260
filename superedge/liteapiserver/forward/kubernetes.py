"""The response filter that makes the Service ``kubernetes`` lead to this lite-apiserver.

Pods reach the API server by the Service's address, which kube-proxy maps to the Service's endpoints. Those
are the API servers in the cloud, which may be out of reach. Sources: Kubernetes Endpoints v1, EndpointSlice
discovery.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IResponseFilter

_SLICES = ("discovery.k8s.io", "endpointslices")
_ENDPOINTS = ("", "endpoints")


@implementer(IPlugin, IResponseFilter)
class KubernetesEndpoints:
    """Replaces the API servers' addresses by ``address``."""

    name = "kubernetes-endpoints"

    def __init__(self, address: TCPAddress) -> None:
        self._address = address
        self._family = f"IPv{ip_address(address.host).version}"

    def resources(self) -> Sequence[tuple[str, str]]:
        """Endpoints and EndpointSlices."""
        return [_ENDPOINTS, _SLICES]

    def filter(self, group: str, resource: str, item: dict[str, Any]) -> dict[str, Any]:
        """The object, changed in place when it belongs to the Service ``kubernetes``."""
        meta = item.get("metadata") or {}
        if meta.get("namespace") != "default":
            return item
        ports = [{"name": "https", "port": self._address.port, "protocol": "TCP"}]
        if (group, resource) == _ENDPOINTS and meta.get("name") == "kubernetes":
            item["subsets"] = [{"addresses": [{"ip": self._address.host}], "ports": ports}]
        elif (
            (group, resource) == _SLICES
            and (meta.get("labels") or {}).get("kubernetes.io/service-name") == "kubernetes"
            and item.get("addressType") == self._family
        ):
            item["endpoints"] = [{"addresses": [self._address.host], "conditions": {"ready": True}}]
            item["ports"] = ports
        return item
