"""Both halves of edge health, joined to the tunnel."""

from __future__ import annotations

from superedge.config.health import EdgeAdmissionConfig, EdgeHealthConfig
from superedge.health.cloud import EdgeAdmission
from superedge.health.edge import EdgeHealth
from superedge.interfaces import IReactor
from superedge.kube.client import KubeClient
from superedge.tap.nodestreams import SessionStreams
from superedge.tls.reload import FileWatcher
from superedge.tunnel.names import node_of_common_name


def edge_health(reactor: IReactor, config: EdgeHealthConfig, watcher: FileWatcher) -> EdgeHealth:
    """The edge's half; its handler is the tunnel's. Raises SuperEdgeError."""
    return EdgeHealth(reactor, config, watcher, node_of_common_name)


def edge_admission(
    reactor: IReactor,
    config: EdgeAdmissionConfig,
    client: KubeClient,
    namespace: str,
    streams: SessionStreams,
    watcher: FileWatcher,
) -> EdgeAdmission:
    """The cloud's half. Raises SuperEdgeError."""
    return EdgeAdmission(reactor, config, client, namespace, streams, watcher, node_of_common_name)
