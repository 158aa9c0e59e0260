"""The Service that an encoded Endpoints or EndpointSlice object belongs to. Pure.

Sources: core v1 Endpoints, discovery.k8s.io/v1 EndpointSlice; generated.proto of apimachinery
pkg/apis/meta/v1 (ObjectMeta: name 1, namespace 3, labels 11).
"""

from __future__ import annotations

import msgspec

from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.media import PROTOBUF
from superedge.kube.wire import BYTES, walk

ENDPOINTS = ("", "endpoints")
ENDPOINT_SLICES = ("discovery.k8s.io", "endpointslices")
SERVICE_NAME = "kubernetes.io/service-name"
"""The label of an EndpointSlice that names its Service."""
_NAME, _NAMESPACE, _LABELS = 1, 3, 11
_KEY = SERVICE_NAME.encode()


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None


class _Object(msgspec.Struct):
    metadata: _Metadata


_object = msgspec.json.Decoder(_Object)
_metadata = msgspec.json.Decoder(_Metadata)


def service_in(resource: tuple[str, str], metadata: msgspec.Raw | bytes) -> tuple[str, str]:
    """As `service_of`, from an object's metadata in JSON. Raises what `JSON_FAULTS` names."""
    return _service(resource, _metadata.decode(metadata))


def _service(resource: tuple[str, str], meta: _Metadata) -> tuple[str, str]:
    by_label = resource == ENDPOINT_SLICES
    return meta.namespace, ((meta.labels or {}).get(SERVICE_NAME, "") if by_label else meta.name)


def service_of(resource: tuple[str, str], media_type: str, raw: bytes) -> tuple[str, str]:
    """The namespace and name of the Service; the name is empty for a slice of none. Raises DecodeError.

    ``resource`` is ENDPOINTS or ENDPOINT_SLICES, ``raw`` the object in JSON, or in protobuf without envelope.
    """
    if media_type != PROTOBUF:
        try:
            return _service(resource, _object.decode(raw).metadata)
        except JSON_FAULTS as problem:
            raise DecodeError(f"not an object in JSON: {problem}") from problem
    by_label = resource == ENDPOINT_SLICES
    namespace = name = ""
    for number, wire, start, end in walk(raw):
        if number != 1 or wire != BYTES:
            break
        for inner, inner_wire, a, b in walk(raw, start, end):
            if inner_wire != BYTES:
                continue
            if inner == _NAMESPACE:
                namespace = raw[a:b].decode(errors="replace")
            elif inner == _NAME and not by_label:
                name = raw[a:b].decode(errors="replace")
            elif inner == _LABELS and by_label and raw.startswith(_KEY, a + 2):
                name = _label(raw, a, b) or name
        break
    return namespace, name


def _label(raw: bytes, start: int, end: int) -> str:
    key = value = b""
    for number, wire, a, b in walk(raw, start, end):
        if wire == BYTES and number == 1:
            key = raw[a:b]
        elif wire == BYTES and number == 2:
            value = raw[a:b]
    return value.decode(errors="replace") if key == _KEY else ""
