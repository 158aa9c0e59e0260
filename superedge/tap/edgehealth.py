"""Both halves of edge health, joined to the tunnel."""

from __future__ import annotations

from collections.abc import Collection

from superedge.config.health import EdgeAdmissionConfig, EdgeHealthConfig
from superedge.health.cloud.service import EdgeAdmission
from superedge.health.edge.service import EdgeHealth
from superedge.interfaces import IReactor
from superedge.kube.client import KubeClient
from superedge.tap.nodestreams import SessionStreams
from superedge.tls.denied import DenyList
from superedge.tls.identity import load_identity
from superedge.tls.reload import FileWatcher
from superedge.tunnel.names import NODE_PREFIX, NameRules, NotANode


class Voters:
    """Who may vote: whom the tunnel takes for a node, too."""

    def __init__(self, names: NameRules, denied: DenyList | None = None) -> None:
        self._names = names
        self.denied = denied

    def __call__(self, common_name: str | None, organizations: Collection[str], serial: int) -> str | None:
        """The node that a certificate makes, None when it makes none or is denied."""
        try:
            node = self._names.node_of(common_name, organizations)
        except NotANode:
            return None
        if self.denied is not None and self.denied.denies(common_name or "", serial):
            return None
        return node


def edge_health(reactor: IReactor, config: EdgeHealthConfig, watcher: FileWatcher) -> EdgeHealth:
    """The edge's half; its handler is the tunnel's. Raises SuperEdgeError.

    A node whose own certificate is as Kubernetes asks takes no other for a node's.
    """
    strict = load_identity(config.certificate, config.key).name.startswith(NODE_PREFIX)
    return EdgeHealth(reactor, config, watcher, Voters(NameRules(strict)))


def edge_admission(
    reactor: IReactor,
    config: EdgeAdmissionConfig,
    client: KubeClient,
    namespace: str,
    streams: SessionStreams,
    watcher: FileWatcher,
    voters: Voters,
) -> EdgeAdmission:
    """The cloud's half. Raises SuperEdgeError."""
    made = EdgeAdmission(reactor, config, client, namespace, streams, watcher, voters)
    if voters.denied is not None:
        watcher.watch([voters.denied.path], made.forget_voters)
    return made
