"""What the tunnel's cloud end believes of nodes: their certificates' names, and their Node objects."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from pathlib import Path

from twisted.logger import Logger

from superedge.config.tunnel import TunnelCloudConfig
from superedge.kube.access import Access
from superedge.kube.nodes import Ranges, RefusedClaim
from superedge.net.names import is_address
from superedge.tls.identity import load_certificates
from superedge.tunnel import metrics
from superedge.tunnel.names import NameRules

_CLUSTER = re.compile("kube|cluster|k3s|rke2", re.IGNORECASE)
"""In the common name of a cluster's CA: kubeadm, k3s, RKE2 and minikube name theirs so."""

_log = Logger()


def name_rules(settings: TunnelCloudConfig, access: Access | None) -> NameRules:
    """The rules for node names. ``access`` is to the API server, if there is one. Raises IdentityError."""
    kind = settings.node_certificates
    strict = kind == "kubernetes" or (kind == "auto" and _signs_users(settings.ca, access))
    return NameRules(strict, settings.cluster_domain, settings.reserved_names)


def _signs_users(files: Sequence[Path], access: Access | None) -> bool:
    """Whether one of the CAs is a cluster's: the API server's own, or one that is called so."""
    names = [name for path in files for found in load_certificates(path) for name in found.common_names]
    if any(_CLUSTER.search(name) for name in names):
        return True
    if access is None:
        return False
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path in files:
        own.load_verify_locations(path)
    cluster = access.tls.current().get_ca_certs(binary_form=True)
    return not set(cluster).isdisjoint(own.get_ca_certs(binary_form=True))


def ranges(settings: TunnelCloudConfig, access: Access) -> Ranges:
    """Where the addresses of Node objects may lie; the API server's own is never one."""
    reserved = list(settings.reserved_ranges)
    if is_address(access.server.host):
        reserved.append(access.server.host)
    return Ranges(settings.node_ranges, settings.pod_ranges, reserved)


def tell(refused: RefusedClaim) -> None:
    """Count and log what a Node object claims and does not get; what is merely outside is counted alone."""
    metrics.CLAIMS_REFUSED.labels(refused.reason).inc()
    if refused.reason == "held":
        _log.warn(
            "node {node} claims {claim}, which {holder} has: it stays with {holder}",
            node=refused.node,
            claim=refused.claim,
            holder=refused.holder,
        )
    elif refused.reason == "reserved":
        _log.warn(
            "node {node} claims {claim}, which can be no node's own", node=refused.node, claim=refused.claim
        )
