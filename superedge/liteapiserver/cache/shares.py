"""The share of the cache that an identity uses. Pure."""

from __future__ import annotations

_NODE, _AUTHENTICATED, _OTHERS = 16, 4, 1
"""Weights of an upstream identity of the node, of a token's subject, and of all other callers together."""


def share_of(identity: str) -> tuple[str, int]:
    """The name of an identity's share, and its weight.

    An impersonating caller uses its own share. Callers without credentials, and with credentials that an API
    server need not have checked, have one share together, since they can choose any name.
    """
    if identity.startswith("as:"):
        identity = identity.split(":", 3)[-1]
    if identity.startswith("cert:"):
        return identity, _NODE
    if identity.startswith("token:"):
        return identity, _AUTHENTICATED
    return "", _OTHERS
