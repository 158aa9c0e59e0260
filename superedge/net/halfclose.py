"""Which protocols are told when one half of their connection ends."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol

_known: dict[type, bool] = {}
"""Asking zope takes as long as a whole FIN; a class is asked once."""


def by_halves(protocol: Any) -> IHalfCloseableProtocol | None:
    """The protocol, if its class implements IHalfCloseableProtocol."""
    kind = type(protocol)
    known = _known.get(kind)
    if known is None:
        known = _known[kind] = bool(IHalfCloseableProtocol.implementedBy(kind))
    return protocol if known else None
