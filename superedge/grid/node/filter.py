"""The response filter ``grid``: of a Service with topology keys, a node sees its own site's endpoints.

Source: SuperEdge's application-grid-wrapper, pkg/application-grid-wrapper/storage/util.go: an endpoint is
shown when its node and this node have the same value of any of the keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from superedge.config.grid import GridFilterConfig
from superedge.errors import PluginError
from superedge.grid.names import TOPOLOGY_KEYS
from superedge.grid.node.cutting import cut_endpoints, cut_endpoints_json, cut_slice, cut_slice_json
from superedge.grid.node.topology import Topology
from superedge.interfaces import Followed, IEncodedResponseFilter, IFollowingFilter
from superedge.kube.endpoints import ENDPOINT_SLICES, ENDPOINTS
from superedge.kube.errors import JSON_FAULTS
from superedge.kube.media import JSON, PROTOBUF

SERVICES = Followed("", "v1", "services", metadata_only=True)
NODES = Followed("", "v1", "nodes", metadata_only=True)
_CUT = {
    (ENDPOINTS, JSON): cut_endpoints_json,
    (ENDPOINTS, PROTOBUF): cut_endpoints,
    (ENDPOINT_SLICES, JSON): cut_slice_json,
    (ENDPOINT_SLICES, PROTOBUF): cut_slice,
}
_keys = msgspec.json.Decoder(list[str])

_log = Logger()


@implementer(IPlugin, IEncodedResponseFilter, IFollowingFilter)
class GridFilter:
    """Leaves endpoints of other sites out."""

    name = "grid"

    def __init__(self, config: GridFilterConfig) -> None:
        self._topology = Topology(config.node, config.unlabelled)

    def resources(self) -> Sequence[tuple[str, str]]:
        """Endpoints and EndpointSlices."""
        return [ENDPOINTS, ENDPOINT_SLICES]

    def follows(self) -> Sequence[Followed]:
        """The annotations of Services, and the labels of nodes."""
        return [SERVICES, NODES]

    def followed(self, what: Followed, namespace: str, name: str, item: dict[str, Any] | None) -> bool:
        """Take a Service or a node."""
        meta = (item or {}).get("metadata") or {}
        if what == NODES:
            return self._topology.put_node(name, meta.get("labels") or {})
        annotation = (meta.get("annotations") or {}).get(TOPOLOGY_KEYS)
        return self._topology.put_service(namespace, name, _read(annotation, f"{namespace}/{name}"))

    def filter(self, group: str, resource: str, item: dict[str, Any]) -> dict[str, Any]:
        """The object, filtered."""
        raw = self.filter_encoded(group, resource, JSON, msgspec.json.encode(item))
        return cast(dict[str, Any], msgspec.json.decode(raw))

    def filter_encoded(self, group: str, resource: str, media_type: str, raw: bytes) -> bytes:
        """The object with the endpoints of this site."""
        if not self._topology.in_use:
            return raw
        return _CUT[(group, resource), media_type](raw, self._topology.site)


def _read(annotation: str | None, service: str) -> tuple[str, ...]:
    """The keys in the annotation of a Service; none if it cannot be read, as in SuperEdge."""
    if annotation is None:
        return ()
    try:
        return tuple(_keys.decode(annotation))
    except JSON_FAULTS as problem:
        _log.warn(
            "the annotation {annotation} of Service {service} is not a JSON list of label names and is"
            " ignored: {problem}",
            annotation=TOPOLOGY_KEYS,
            service=service,
            problem=problem,
        )
        return ()


def create(options: Mapping[str, Any]) -> GridFilter:
    """A filter with the options of lite_apiserver.filter_options.grid. Raises PluginError."""
    try:
        return GridFilter(msgspec.convert(options, GridFilterConfig))
    except msgspec.ValidationError as problem:
        raise PluginError(f"lite_apiserver.filter_options.grid: {problem}") from problem
