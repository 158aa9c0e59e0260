"""How long an answer may keep silent before its connection is doubted, by the kind of request. Pure."""

from __future__ import annotations

from superedge.kube.request import RequestInfo

ONE = 5.0
"""Seconds for one object: read, or renewed as a Lease is. Its client gives up at ten."""
MANY = 30.0
"""Seconds for a list, which the API server may have to gather."""
WRITE = 65.0
"""Seconds for another write: webhooks have 30 s each, and the API server itself ends it at 60."""


def patience(info: RequestInfo) -> float | None:
    """Seconds of silence after which, if new connections work, the request's own is given up.

    None for what may be silent as long as it likes: watches, and streams such as logs.
    """
    if info.verb == "watch" or (info.is_resource and info.subresource not in ("", "status", "scale")):
        return None
    if info.verb == "list":
        return MANY
    return ONE if info.is_read or info.resource == "leases" else WRITE
