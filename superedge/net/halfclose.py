"""Detects protocols that handle a half-closed connection (IHalfCloseableProtocol)."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol

_known: dict[type, bool] = {}
"""Results by class: zope's lookup takes as long as handling a FIN."""


def half_closeable(protocol: Any) -> IHalfCloseableProtocol | None:
    """The protocol, if its class implements IHalfCloseableProtocol."""
    kind = type(protocol)
    known = _known.get(kind)
    if known is None:
        known = _known[kind] = bool(IHalfCloseableProtocol.implementedBy(kind))
    return protocol if known else None
