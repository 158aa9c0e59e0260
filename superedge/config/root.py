"""The whole configuration: an optional table for each component."""

from __future__ import annotations

from typing import Any

import msgspec

from superedge.config.dns import TunnelDNSConfig
from superedge.config.grid import ApplicationGridConfig
from superedge.config.health import EdgeAdmissionConfig, EdgeHealthConfig
from superedge.config.kubernetes import KubernetesConfig
from superedge.config.listening import conflict
from superedge.config.liteapiserver import LiteAPIServerConfig
from superedge.config.localdns import LocalDNSConfig
from superedge.config.log import LogConfig
from superedge.config.networksnapshot import NetworkSnapshotConfig
from superedge.config.ops import OpsConfig
from superedge.config.tunnel import TunnelCloudConfig, TunnelEdgeConfig


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A component runs when its table is there; one process may run any mix."""

    #: Log lines.
    log: LogConfig = msgspec.field(default_factory=LogConfig)
    #: Metrics, health and status over HTTP.
    ops: OpsConfig | None = None
    #: The API server, for all components but lite-apiserver.
    kubernetes: KubernetesConfig = msgspec.field(default_factory=KubernetesConfig)
    #: The tunnel's cloud end.
    tunnel_cloud: TunnelCloudConfig | None = None
    #: The tunnel's edge end.
    tunnel_edge: TunnelEdgeConfig | None = None
    #: The node's API server.
    lite_apiserver: LiteAPIServerConfig | None = None
    #: The node's DNS server.
    local_dns: LocalDNSConfig | None = None
    #: The node's network, for a reboot without the cloud.
    network_snapshot: NetworkSnapshotConfig | None = None
    #: Node names as addresses.
    tunnel_dns: TunnelDNSConfig | None = None
    #: Nodes that probe each other and vote.
    edge_health: EdgeHealthConfig | None = None
    #: The cloud that judges by their votes.
    edge_admission: EdgeAdmissionConfig | None = None
    #: One definition, a workload for each site.
    application_grid: ApplicationGridConfig | None = None
    #: Services of installed packages: `[plugins.NAME]` is given to the plugin of that name.
    plugins: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that no address is used twice."""
        found = conflict(self)
        if found is not None:
            key, other, address = found
            raise ValueError(f"{key}: {address} is already used by {other}")
