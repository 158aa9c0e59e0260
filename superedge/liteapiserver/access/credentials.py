"""Bearer tokens: the identity that they name, and whether they are accepted while the cloud is away. Pure.

A token is accepted if the cloud's review of it was positive, or if the issuer's keys signed it. Only the hash
of a token is stored.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple, Protocol
from urllib.parse import quote

import msgspec
from twisted.logger import Logger

from superedge.interfaces import Entry
from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.memo import MAX_CACHED
from superedge.liteapiserver.access.expiring import NEVER, UNIX_EPOCH, ExpiringTable
from superedge.liteapiserver.access.jwt import SUBJECT, Claims, TokenError
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.records import Commit

ANONYMOUS = "anonymous"
UNATTRIBUTED = "unattributed"
"""The identity of callers whose credentials are not a single bearer token."""
_ANONYMOUS_USERS = frozenset({"", "system:anonymous"})
_MAX_CACHED = 1000
MAX_VERDICTS = 10_000
"""Tokens whose verdict is kept. A limit is needed: some tokens never expire, and those of a kubelet live for
up to a year although it gets new ones every hour.
"""
_MAX_NAME = 600
"""Characters of the longest name made of claims."""
_CLAIMED = "token:"
"""The prefix of a name made of claims."""
_IN_SUBJECT = "/:.,+ "
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()

_log = Logger()


class _Claims(msgspec.Struct):
    sub: str = ""
    iss: str = ""
    exp: float | None = None


class _Verdict(msgspec.Struct, omit_defaults=True):
    """The cloud's verdict on a token; ``owner`` is the token's identity."""

    owner: str
    expires: float | None
    refused: bool = False


_claims = msgspec.json.Decoder(_Claims)
# The whole text must match, so that nothing beside a token is read instead of it.
_JWT = re.compile(r"[\w-]+\.([\w-]+)\.[\w-]+", re.ASCII).fullmatch


def read_claims(token: str) -> _Claims | None:
    """The unverified claims of a JWT (RFC 7519); None for any other token."""
    found = _JWT(token)
    if found is None:
        return None
    try:
        payload = base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4))
        claims = _claims.decode(payload)
    except (binascii.Error, *JSON_FAULTS):
        return None
    return claims if claims.sub else None


class TokenIdentity(NamedTuple):
    """A token's identity in the cache, its hash, and its subject and expiry (Unix time) if it has them."""

    name: str
    digest: str
    subject: str
    expires: float | None


class TokenIssuer(Protocol):
    """The token issuer; implemented by `superedge.liteapiserver.access.issuer.Issuer`."""

    @property
    def name(self) -> str:
        """The issuer, empty while its keys are not known."""

    def verify(self, token: str) -> Claims:
        """The claims of a valid token. Raises TokenError."""

    def is_forged(self, issuer: str, token: str) -> bool:
        """Whether a token claims this issuer without its signature."""


class Credentials:
    """Decides which tokens are accepted without the cloud."""

    def __init__(self, commit: Commit, clock: Callable[[], float], issuer: TokenIssuer | None = None) -> None:
        """Without ``issuer`` only tokens that the cloud accepted are accepted. ``clock`` gives Unix time."""
        self._commit = commit
        self._clock = clock
        self._issuer = issuer
        self._verdicts: ExpiringTable[str, _Verdict] = ExpiringTable(MAX_VERDICTS, self._forget)
        # Expiry of tokens whose signature was verified, by hash.
        self._verified: dict[str, float] = {}
        self._identified: dict[str, TokenIdentity] = {}

    def identify(self, token: str) -> TokenIdentity:
        """The identity that a token names. It grants nothing until the token is accepted.

        All tokens of a subject of an issuer have one identity. A token that claims the cluster's issuer
        without its signature has an identity of its own.
        """
        found = self._identified.get(token)
        if found is None:
            found = self._identify(token, sha256(token.encode()).hexdigest())
            if len(token) <= MAX_CACHED:
                if len(self._identified) >= _MAX_CACHED:
                    del self._identified[next(iter(self._identified))]
                self._identified[token] = found
        return found

    def _identify(self, token: str, digest: str) -> TokenIdentity:
        claims = read_claims(token)
        if claims is None or len(claims.sub) + len(claims.iss) > _MAX_NAME:
            return TokenIdentity(f"credential:{digest}", digest, "", claims.exp if claims else None)
        if self._issuer is not None and self._issuer.is_forged(claims.iss, token):
            return TokenIdentity(f"credential:{digest}", digest, claims.sub, claims.exp)
        subject = quote(claims.sub, safe=_IN_SUBJECT)
        return TokenIdentity(f"{_CLAIMED}{subject}@{claims.iss}", digest, claims.sub, claims.exp)

    def load(self, entries: Iterable[Entry]) -> None:
        """Load what a store holds."""
        for entry in entries:
            if entry.kind == records.BEARER:
                try:
                    (digest,) = entry.key
                    header, _ = records.unpack(_Verdict, entry.value)
                except (DecodeError, ValueError):
                    self._commit(entry.kind, entry.key, None)
                    continue
                self._hold(digest, header, UNIX_EPOCH)

    def save(self) -> None:
        """Commit everything again, for a store that lost it."""
        for digest, verdict in self._verdicts.items():
            self._commit(records.BEARER, (digest,), records.pack(verdict))

    def is_accepted(self, digest: str) -> bool:
        """Whether the cloud's latest verdict accepts the token with this hash."""
        known = self._verdicts.get(digest)
        if known is None or known.refused:
            return False
        self._verdicts.touch(digest)
        return True

    def accept(self, token: str, username: str) -> bool:
        """Take the cloud's review of a token, which names its user; whether it is accepted now.

        An anonymous user means that the cloud did not read a token. The identity of a service account's token
        is made of its claims, so the user must be the claimed subject.
        """
        found = self.identify(token)
        claimed = found.name.startswith(_CLAIMED) and found.subject.startswith(SUBJECT)
        if username in _ANONYMOUS_USERS or (claimed and found.subject != username):
            return False
        self._record(found, refused=False)
        return True

    def _record(self, found: TokenIdentity, refused: bool) -> None:
        verdict = _Verdict(found.name, found.expires, refused)
        self._hold(found.digest, verdict, self._clock())
        self._commit(records.BEARER, (found.digest,), records.pack(verdict))

    def _hold(self, digest: str, verdict: _Verdict, now: float) -> None:
        # Refused tokens share one owner, so that made-up tokens evict no others.
        owner = "" if verdict.refused else verdict.owner
        self._verdicts.put(owner, digest, verdict, NEVER if verdict.expires is None else verdict.expires, now)

    def _forget(self, digest: str) -> None:
        self._commit(records.BEARER, (digest,), None)

    def reject(self, token: str) -> bool:
        """Take a 401 of the cloud; whether the verdict is new.

        It is kept only for a token that would be accepted, now or once the issuer's keys are known.
        """
        found = self.identify(token)
        known = self._verdicts.get(found.digest)
        if known is not None and known.refused:
            return False
        unknown_issuer = self._issuer is not None and not self._issuer.name and bool(found.subject)
        if known is None and not unknown_issuer and not self._is_signed(token, found.digest):
            return False
        self._record(found, refused=True)
        return True

    def rejection(self, token: str) -> str:
        """Why a token is not accepted without the cloud; empty for an accepted one."""
        found = self.identify(token)
        known = self._verdicts.get(found.digest)
        if known is not None and known.refused:
            return "it refused this token before"
        if found.expires is not None and found.expires <= self._clock():
            moment = datetime.fromtimestamp(max(0.0, min(found.expires, _LATEST)), UTC)
            return f"the token expired at {moment:%Y-%m-%dT%H:%M:%SZ}"
        if known is not None or self._is_signed(token, found.digest):
            return ""
        return "it never took this token, and its keys did not sign it"

    def _is_signed(self, token: str, digest: str) -> bool:
        if self._issuer is None:
            return False
        until = self._verified.get(digest)
        if until is None:
            try:
                until = self._issuer.verify(token).exp
            except TokenError as problem:
                _log.debug("a token is not accepted: {problem}", problem=problem)
                return False
            if len(self._verified) >= _MAX_CACHED:
                del self._verified[next(iter(self._verified))]
            self._verified[digest] = until
        return until > self._clock()

    def keys_changed(self) -> None:
        """The issuer's keys changed: signatures are verified again."""
        self._verified.clear()
        self._identified.clear()
