"""Node names: the node that a certificate identifies, and the names that no node may have."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from superedge.config.tunnel import RESERVED_NAMES
from superedge.errors import SuperEdgeError
from superedge.net.names import is_in_zone

ALPN = "superedge-tunnel/1"
NODE_PREFIX = "system:node:"
NODE_GROUP = "system:nodes"

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class NotANode(SuperEdgeError):
    """A certificate does not identify a node."""


def node_of_common_name(common_name: str | None) -> str | None:
    """The node a certificate is for: CN ``system:node:NAME`` or ``NAME``; None when it is no node's.

    Node names are RFC 1123 subdomains, as in the Kubernetes API.
    """
    name = (common_name or "").removeprefix(NODE_PREFIX)
    return name if len(name) <= 253 and _SUBDOMAIN.fullmatch(name) else None


class NameRules:
    """Decides which node a certificate identifies. ``strict`` asks for the name and group of Kubernetes
    nodes."""

    def __init__(
        self,
        strict: bool = False,
        cluster_domain: str = "cluster.local",
        reserved: Sequence[str] = RESERVED_NAMES,
    ) -> None:
        self._strict = strict
        self.cluster_domain = cluster_domain
        self._reserved = [pattern.lower() for pattern in reserved]

    def is_reserved(self, name: str) -> bool:
        """Whether no node may have the name, because it reads as an address or is a name of the cluster.

        A name whose last label is a number reads as an IPv4 address, as ``10.1`` and ``0x7f.1`` do for
        inet_aton (POSIX); source: the URL standard, section 3.5.
        """
        return (
            _NUMBER.fullmatch(name.rpartition(".")[2]) is not None
            or is_in_zone(name, self.cluster_domain)
            or any(fnmatchcase(name, pattern) for pattern in self._reserved)
        )

    def node_of(self, common_name: str | None, organizations: Collection[str]) -> str:
        """The node that a certificate identifies. Raises NotANode."""
        node = node_of_common_name(common_name)
        if node is None:
            raise NotANode(f"no node's certificate: CN {common_name!r}")
        if self._strict and not (str(common_name).startswith(NODE_PREFIX) and NODE_GROUP in organizations):
            raise NotANode(
                f"no node's certificate: CN {common_name!r} without {NODE_PREFIX} or without O {NODE_GROUP};"
                " tunnel_cloud.node_certificates decides"
            )
        if self.is_reserved(node):
            raise NotANode(f"no node may be called {node!r}: it is an address or a name of the cluster")
        return node
