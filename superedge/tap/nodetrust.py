"""How far the tunnel's cloud end trusts names in nodes' certificates and addresses in Node objects."""

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
"""Matches the common names of the cluster CAs of kubeadm, k3s, RKE2 and minikube."""

_log = Logger()


def name_rules(settings: TunnelCloudConfig, access: Access | None) -> NameRules:
    """The rules for node names. ``access`` is that to the API server, if any. Raises IdentityError."""
    kind = settings.node_certificates
    strict = kind == "kubernetes" or (kind == "auto" and _signs_users(settings.ca, access))
    return NameRules(strict, settings.cluster_domain, settings.reserved_names)


def _signs_users(files: Sequence[Path], access: Access | None) -> bool:
    """Whether one of the CAs is a cluster's: that of the API server, or one with the name of a cluster CA."""
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
    """The ranges for addresses of Node objects, without the API server's own address."""
    reserved = list(settings.reserved_ranges)
    if is_address(access.server.host):
        reserved.append(access.server.host)
    return Ranges(settings.node_ranges, settings.pod_ranges, reserved)


def report(refused: RefusedClaim) -> None:
    """Count a refused claim of a Node object, and log it unless it is merely outside the ranges."""
    metrics.CLAIMS_REFUSED.labels(refused.reason).inc()
    if refused.reason == "held":
        _log.warn(
            "node {node} claims the address {claim}, which node {holder} has: {holder} keeps it",
            node=refused.node,
            claim=refused.claim,
            holder=refused.holder,
        )
    elif refused.reason == "reserved":
        _log.warn(
            "node {node} claims the address {claim}, which no node may have",
            node=refused.node,
            claim=refused.claim,
        )
