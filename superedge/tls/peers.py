"""Ends connections when their peer's certificate expires or its CA is removed.

TLS verifies a certificate only in a full handshake: not during the connection, and not when a session is
resumed. This module keeps the results of full handshakes, and checks them again.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from itertools import chain
from math import inf
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from superedge.tls.x509 import Certificate, parse_certificate


class SecureConnection(Protocol):
    """A TLS connection after its handshake."""

    peer_certificate: dict[str, Any]
    """The result of `ssl.SSLObject.getpeercert`; empty when the peer has no certificate."""

    def peer_der(self) -> bytes:
        """The peer's certificate (DER)."""

    def verified_chain(self) -> list[bytes]:
        """The verified chain (DER), from the peer's certificate to the trusted CA.

        Empty for a resumed session, in which nothing is verified.
        """

    def end(self, reason: str) -> None:
        """Abort the connection."""


class Verified(NamedTuple):
    """The result of a full handshake."""

    until: float
    """Unix time at which the first certificate of the chain expires."""
    signer: bytes
    """The trusted CA, see `Certificate.signer`."""


class Peers:
    """Admits connections, and ends them when their peer is no longer trusted.

    ``now`` returns Unix time. Connections may continue for ``grace`` seconds after a certificate expired.
    """

    def __init__(self, now: Callable[[], float], grace: float = 0.0) -> None:
        self._now = now
        self._grace = grace
        self._trusted: frozenset[bytes] = frozenset()
        self._verified: dict[bytes, Verified] = {}
        """By the SHA-256 of the peer's certificate. A session can only be resumed with its own context."""
        self._connections: WeakKeyDictionary[SecureConnection, Verified] = WeakKeyDictionary()
        self._next = inf
        """Unix time at which the next certificate expires."""

    def trust(self, authorities: Iterable[Certificate]) -> None:
        """Replace the trusted CAs, and end connections whose peers have another CA."""
        self._trusted = frozenset(each.signer for each in authorities)
        self._verified.clear()
        for connection, verified in list(self._connections.items()):
            if verified.signer not in self._trusted:
                del self._connections[connection]
                connection.end("the CA of the peer's certificate is no longer trusted")

    def admit(self, connection: SecureConnection) -> str:
        """Register a connection after its handshake. Returns why its peer is not trusted, or ''."""
        if not connection.peer_certificate:
            return ""
        found = connection.verified_chain()
        key = sha256(found[0] if found else connection.peer_der()).digest()
        verified = _verified(connection, found) if found else self._verified.get(key)
        if verified is None:
            return "the resumed TLS session is too old"
        if verified.signer not in self._trusted:
            return "the CA of its certificate is no longer trusted"
        if verified.until <= self._now():
            return f"its certificate {_expired(verified)}"
        self._verified[key] = self._connections[connection] = verified
        self._next = min(self._next, verified.until)
        return ""

    def end_expired(self) -> bool:
        """End connections whose peer's certificate has expired. Returns whether any certificate has."""
        now = self._now() - self._grace
        if now < self._next:
            return False
        self._verified = {key: each for key, each in self._verified.items() if each.until > now}
        for connection, verified in list(self._connections.items()):
            if verified.until <= now:
                del self._connections[connection]
                connection.end(f"the peer's certificate {_expired(verified)}")
        known = chain(self._verified.values(), self._connections.values())
        self._next = min((each.until for each in known), default=inf)
        return True


def _verified(connection: SecureConnection, found: list[bytes]) -> Verified:
    authorities = [_authority(der) for der in found[1:] or found]
    until: float = ssl.cert_time_to_seconds(connection.peer_certificate["notAfter"])
    for each in authorities:
        until = min(until, each.not_after.timestamp())
    return Verified(until, authorities[-1].signer)


@lru_cache(maxsize=64)
def _authority(der: bytes) -> Certificate:
    return parse_certificate(der)


def _expired(verified: Verified) -> str:
    return f"expired at {datetime.fromtimestamp(verified.until, UTC):%Y-%m-%dT%H:%M:%SZ}"
