"""Who has which share of what may be remembered. Pure."""

from __future__ import annotations

_NODE, _AUTHENTICATED, _OTHERS = 16, 4, 1
"""Weights: of the node's own identities, of a service account or another token's subject, and of all callers
together whose credentials tell nothing."""


def share_of(identity: str) -> tuple[str, int]:
    """Whose share an identity's answers are in, and its weight.

    Who acts as somebody else uses the own share. Callers without credentials, and with credentials that an
    API server need not have looked at, have one together: they can name themselves as they like.
    """
    if identity.startswith("as:"):
        identity = identity.split(":", 3)[-1]
    if identity.startswith("cert:"):
        return identity, _NODE
    if identity.startswith("token:"):
        return identity, _AUTHENTICATED
    return "", _OTHERS
