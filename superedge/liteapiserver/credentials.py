"""Clients without certificate: who they are by their Authorization header, and whether the cloud took it.

A token is never stored, only its hash.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import sha256

import msgspec

from superedge.interfaces import Entry
from superedge.kube.errors import DecodeError
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.collection import Commit

ANONYMOUS = "anonymous"


class _Claims(msgspec.Struct):
    sub: str = ""
    iss: str = ""
    exp: float | None = None


class _Accepted(msgspec.Struct):
    expires: float | None


_claims = msgspec.json.Decoder(_Claims)


def read_claims(token: str) -> _Claims | None:
    """The claims of a JWT, not verified; None for any other token (RFC 7519)."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = _claims.decode(payload)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
    return claims if claims.sub else None


@lru_cache(maxsize=256)
def identify(authorization: bytes) -> tuple[str, str, float | None]:
    """Identity for the cache, hash, and Unix time of expiry, of an Authorization header.

    It only names what the cloud accepts or refuses: until that has happened it opens nothing.
    """
    digest = sha256(authorization).hexdigest()
    scheme, _, token = authorization.decode("latin-1").partition(" ")
    claims = read_claims(token.strip()) if scheme.lower() == "bearer" else None
    if claims is None:
        return f"credential:{digest}", digest, None
    # The same subject of two issuers is two identities.
    return f"token:{claims.sub}@{claims.iss}" if claims.iss else f"token:{claims.sub}", digest, claims.exp


class Credentials:
    """Which Authorization headers the cloud accepted."""

    def __init__(self, commit: Commit, clock: Callable[[], float]) -> None:
        self._commit = commit
        self._clock = clock
        self._accepted: dict[str, float | None] = {}

    def restore(self, entries: Iterable[Entry]) -> None:
        """Take back what a store held."""
        for entry in entries:
            if entry.kind == records.BEARER:
                try:
                    header, _ = records.unpack(_Accepted, entry.value)
                except DecodeError:
                    self._commit(entry.kind, entry.key, None)
                    continue
                self._accepted[entry.key[0]] = header.expires

    def accepted(self, authorization: bytes) -> None:
        """The cloud answered a request with it."""
        _, digest, expires = identify(authorization)
        if digest not in self._accepted:
            self._forget_expired()
            self._accepted[digest] = expires
            self._commit(records.BEARER, (digest,), records.pack(_Accepted(expires)))

    def issued(self, token: str) -> None:
        """The cloud made this token for a pod: it is as good as accepted."""
        self.accepted(b"Bearer " + token.encode())

    def refused(self, authorization: bytes) -> None:
        """The cloud answered 401."""
        _, digest, _ = identify(authorization)
        if self._accepted.pop(digest, 0) != 0:
            self._commit(records.BEARER, (digest,), None)

    def is_accepted(self, authorization: bytes) -> bool:
        """Whether it may be believed without the cloud."""
        _, digest, expires = identify(authorization)
        return digest in self._accepted and (expires is None or expires > self._clock())

    def _forget_expired(self) -> None:
        now = self._clock()
        for digest, expires in list(self._accepted.items()):
            if expires is not None and expires <= now:
                del self._accepted[digest]
                self._commit(records.BEARER, (digest,), None)
