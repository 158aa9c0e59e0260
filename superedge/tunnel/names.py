"""Node names, from certificates."""

from __future__ import annotations

import re

ALPN = "superedge-tunnel/1"

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")


def node_of_common_name(common_name: str | None) -> str | None:
    """The node a certificate is for: CN ``system:node:NAME`` or ``NAME``; None when it is no node's.

    Node names are RFC 1123 subdomains, as in the Kubernetes API.
    """
    name = (common_name or "").removeprefix("system:node:")
    return name if len(name) <= 253 and _SUBDOMAIN.fullmatch(name) else None
