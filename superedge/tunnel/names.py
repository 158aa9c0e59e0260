"""Node names: from a certificate, and as callers write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

ALPN = "superedge-tunnel/1"

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")


def node_of_common_name(common_name: str | None) -> str | None:
    """The node a certificate is for: CN ``system:node:NAME`` or ``NAME``; None when it is no node's.

    Node names are RFC 1123 subdomains, as in the Kubernetes API.
    """
    name = (common_name or "").removeprefix("system:node:")
    return name if len(name) <= 253 and _SUBDOMAIN.fullmatch(name) else None


def strip_suffix(host: str, suffixes: Sequence[str]) -> list[str]:
    """The node names that ``host`` may mean: itself, and itself less each suffix that it ends with."""
    host = host.lower().removesuffix(".")
    candidates = [host]
    for suffix in suffixes:
        tail = "." + suffix.lower().strip(".")
        if host.endswith(tail) and len(host) > len(tail):
            candidates.append(host[: -len(tail)])
    return candidates
