"""The response filter that makes the Service ``kubernetes`` lead to this lite-apiserver.

Pods reach the API server by the Service's address, which kube-proxy maps to the Service's endpoints. Those
are the API servers in the cloud, which may be out of reach. Sources: Kubernetes Endpoints v1, EndpointSlice
discovery.k8s.io/v1, and their generated.proto.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, cast

import msgspec
from twisted.plugin import IPlugin
from zope.interface import implementer

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IEncodedResponseFilter
from superedge.kube.endpoints import ENDPOINT_SLICES, ENDPOINTS, service_of
from superedge.kube.json import decode
from superedge.kube.media import JSON, PROTOBUF
from superedge.kube.wire import field, number_field, walk

_SERVICE = ("default", "kubernetes")
# What every encoding of its objects contains.
_MARKS = {JSON: b'"kubernetes"', PROTOBUF: b"\x0akubernetes"}
_META, _CONTENT, _PORTS, _ADDRESS_TYPE = 1, 2, 3, 4


@implementer(IPlugin, IEncodedResponseFilter)
class KubernetesEndpoints:
    """Replaces the API servers' addresses by ``address``."""

    name = "kubernetes-endpoints"

    def __init__(self, address: TCPAddress) -> None:
        self._address = address
        self._family = f"IPv{ip_address(address.host).version}"

    def resources(self) -> Sequence[tuple[str, str]]:
        """Endpoints and EndpointSlices."""
        return [ENDPOINTS, ENDPOINT_SLICES]

    def filter(self, group: str, resource: str, item: dict[str, Any]) -> dict[str, Any]:
        """The object, changed if it belongs to the Service ``kubernetes``."""
        raw = self.filter_encoded(group, resource, JSON, msgspec.json.encode(item))
        return cast(dict[str, Any], msgspec.json.decode(raw))

    def filter_encoded(self, group: str, resource: str, media_type: str, raw: bytes) -> bytes:
        """The object, changed if it belongs to the Service ``kubernetes``."""
        if _MARKS[media_type] not in raw:
            return raw
        of = (group, resource)
        if service_of(of, media_type, raw) != _SERVICE:
            return raw
        if media_type == PROTOBUF:
            return self._endpoints(raw) if of == ENDPOINTS else self._slice(raw)
        item: dict[str, Any] = decode(dict, raw)
        ports = [{"name": "https", "port": self._address.port, "protocol": "TCP"}]
        if of == ENDPOINTS:
            item["subsets"] = [{"addresses": [{"ip": self._address.host}], "ports": ports}]
        elif item.get("addressType") == self._family:
            item["endpoints"] = [{"addresses": [self._address.host], "conditions": {"ready": True}}]
            item["ports"] = ports
        else:
            return raw
        return msgspec.json.encode(item)

    def _endpoints(self, raw: bytes) -> bytes:
        """EndpointSubset: addresses 1 (ip 1), ports 3 (EndpointPort: name 1, port 2, protocol 3)."""
        address = field(1, field(1, self._address.host.encode()))
        port = field(1, b"https") + number_field(2, self._address.port) + field(3, b"TCP")
        subset = field(_CONTENT, address + field(3, port))
        return b"".join(field(number, raw[a:b]) for number, _, a, b in walk(raw) if number == _META) + subset

    def _slice(self, raw: bytes) -> bytes:
        """Endpoint: addresses 1, conditions 2 (ready 1). EndpointPort: name 1, protocol 2, port 3."""
        kept = {number: raw[a:b] for number, _, a, b in walk(raw) if number in (_META, _ADDRESS_TYPE)}
        if kept.get(_ADDRESS_TYPE, b"").decode(errors="replace") != self._family:
            return raw
        endpoint = field(1, self._address.host.encode()) + field(2, number_field(1, 1))
        port = field(1, b"https") + field(2, b"TCP") + number_field(3, self._address.port)
        shown = {**kept, _CONTENT: endpoint, _PORTS: port}
        return b"".join(field(number, shown[number]) for number in sorted(shown))
