"""Services and EndpointSlices, as much of them as names need."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec

from superedge.kube.client import Resource
from superedge.kube.json import decode

SERVICES = Resource("", "v1", "services")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices")
_SERVICE_NAME = "kubernetes.io/service-name"


class Port(msgspec.Struct, frozen=True, array_like=True):
    """A named port; ``protocol`` is lower case."""

    name: str
    protocol: str
    number: int


class Service(msgspec.Struct, frozen=True, array_like=True):
    """``addresses`` are its cluster IPs, packed; one with neither these nor ``external`` is headless."""

    addresses: tuple[bytes, ...] = ()
    ports: tuple[Port, ...] = ()
    external: str = ""
    unready: bool = False
    """Whether endpoints that are not ready are published."""

    @property
    def headless(self) -> bool:
        """Whether its endpoints are its addresses."""
        return not self.addresses and not self.external


class Endpoint(msgspec.Struct, frozen=True, array_like=True):
    """``hostname`` is the endpoint's own, or one made of its first address."""

    hostname: str
    addresses: tuple[bytes, ...]
    ready: bool


class Slice(msgspec.Struct, frozen=True, array_like=True):
    """Some endpoints of a service in its namespace."""

    service: str
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[Port, ...] = ()


class _Port(msgspec.Struct):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class _ServiceSpec(msgspec.Struct):
    type: str = "ClusterIP"
    clusterIP: str = ""
    clusterIPs: list[str] | None = None
    ports: list[_Port] | None = None
    externalName: str = ""
    publishNotReadyAddresses: bool = False


class _Service(msgspec.Struct):
    spec: _ServiceSpec


class _Conditions(msgspec.Struct):
    ready: bool | None = None


class _Endpoint(msgspec.Struct):
    addresses: list[str]
    conditions: _Conditions | None = None
    hostname: str | None = None


class _Meta(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Slice(msgspec.Struct):
    metadata: _Meta
    addressType: str = "IPv4"
    endpoints: list[_Endpoint] | None = None
    ports: list[_Port] | None = None


def read_service(raw: bytes) -> Service:
    """A Service in JSON. Raises DecodeError."""
    spec: _ServiceSpec = decode(_Service, raw).spec
    if spec.type == "ExternalName":
        return Service(external=spec.externalName.lower())
    texts = spec.clusterIPs or [spec.clusterIP]
    return Service(_packed(texts), _ports(spec.ports), unready=spec.publishNotReadyAddresses)


def read_slice(raw: bytes) -> Slice:
    """An EndpointSlice in JSON; one of names instead of addresses has no endpoints. Raises DecodeError."""
    found: _Slice = decode(_Slice, raw)
    service = (found.metadata.labels or {}).get(_SERVICE_NAME, "")
    if found.addressType == "FQDN" or not found.endpoints:
        return Slice(service)
    endpoints = []
    for endpoint in found.endpoints:
        addresses = _packed(endpoint.addresses)
        if addresses:
            hostname = endpoint.hostname or str(ip_address(addresses[0])).replace(".", "-").replace(":", "-")
            # Not said means ready.
            ready = endpoint.conditions is None or endpoint.conditions.ready is not False
            endpoints.append(Endpoint(hostname.lower(), addresses, ready))
    return Slice(service, tuple(endpoints), _ports(found.ports))


def _packed(texts: list[str]) -> tuple[bytes, ...]:
    found = []
    for text in texts:
        try:
            found.append(ip_address(text).packed)
        except ValueError:  # "None", "", or an address that no record can hold
            continue
    return tuple(found)


def _ports(ports: list[_Port] | None) -> tuple[Port, ...]:
    return tuple(
        Port(port.name.lower(), (port.protocol or "TCP").lower(), port.port)
        for port in ports or ()
        if port.name and port.port is not None
    )
