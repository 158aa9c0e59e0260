"""Clients without certificate: who they are by their Authorization header, and whether they are believed.

While the cloud is away it is believed what the cloud accepted before, and what the issuer's keys signed. A
token is never stored, only its hash.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import NamedTuple, Protocol
from urllib.parse import quote

import msgspec
from twisted.logger import Logger

from superedge.interfaces import Entry
from superedge.kube.errors import DecodeError
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.records import Commit
from superedge.liteapiserver.expiring import BOOT, NEVER, Expiring
from superedge.liteapiserver.jwt import Claims, TokenError

ANONYMOUS = "anonymous"
_MAX_HELD = 1000
MAX_JUDGED = 10_000
"""Credentials of which is remembered what the cloud said; what was used least lately gives way. Some never
expire, and an API server lets a kubelet's tokens live for a year, though new ones are made every hour."""
_IN_SUBJECT = "/:.,+ "

_log = Logger()


class _Claims(msgspec.Struct):
    sub: str = ""
    iss: str = ""
    exp: float | None = None


class _Judged(msgspec.Struct, omit_defaults=True):
    """What the cloud said of an Authorization header."""

    expires: float | None
    refused: bool = False


_claims = msgspec.json.Decoder(_Claims)
# Nothing around it: what a client writes beside its token must not be read in its place.
_JWT = re.compile(r"[\w-]+\.([\w-]+)\.[\w-]+", re.ASCII).fullmatch


def read_claims(token: str) -> _Claims | None:
    """The claims of a JWT, not verified; None for any other token (RFC 7519)."""
    found = _JWT(token)
    if found is None:
        return None
    try:
        payload = base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4))
        claims = _claims.decode(payload)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
    return claims if claims.sub else None


class Identified(NamedTuple):
    """Of an Authorization header: a name for the cache, its hash, Unix time of expiry if it has one."""

    name: str
    digest: str
    expires: float | None


def bearer_token(authorization: bytes) -> str:
    """The token of an Authorization header, empty when the API server sees none in it.

    It takes what stands between the first space and the second: who writes two spaces has no token, and is
    anonymous there.
    """
    scheme, token, *_ = [*authorization.strip().split(b" ", 2), b""]
    return token.decode("latin-1") if scheme.lower() == b"bearer" else ""


class Judge(Protocol):
    """Who signs tokens, as `superedge.liteapiserver.issuer.Issuer` knows it."""

    def verify(self, token: str) -> Claims:
        """The claims of a token that is to be believed. Raises TokenError."""

    def disowns(self, issuer: str, token: str) -> bool:
        """Whether a token says that it is of this issuer and is not."""


class Credentials:
    """Which Authorization headers are believed without the cloud."""

    def __init__(self, commit: Commit, clock: Callable[[], float], issuer: Judge | None = None) -> None:
        """Without ``issuer`` only what the cloud accepted is believed. ``clock`` gives Unix time."""
        self._commit = commit
        self._clock = clock
        self._issuer = issuer
        self._judged: Expiring[str, _Judged] = Expiring(MAX_JUDGED, self._forget)
        # Until when, by hash, a signature was found good.
        self._verified: dict[str, float] = {}
        self._identified: dict[bytes, Identified] = {}

    def identify(self, authorization: bytes) -> Identified:
        """Who it names. That opens nothing: the cloud has to accept it, or its signature to be right.

        All tokens of one subject of one issuer have one name. A token that claims to be of the cluster's
        issuer and is not signed by it has a name of its own, whoever else may accept it.
        """
        found = self._identified.get(authorization)
        if found is None:
            found = self._identify(authorization)
            if len(self._identified) >= _MAX_HELD:
                del self._identified[next(iter(self._identified))]
            self._identified[authorization] = found
        return found

    def _identify(self, authorization: bytes) -> Identified:
        digest = sha256(authorization).hexdigest()
        token = bearer_token(authorization)
        claims = read_claims(token) if token else None
        if claims is None:
            return Identified(f"credential:{digest}", digest, None)
        if self._issuer is not None and self._issuer.disowns(claims.iss, token):
            return Identified(f"credential:{digest}", digest, claims.exp)
        subject = quote(claims.sub, safe=_IN_SUBJECT)
        return Identified(f"token:{subject}@{claims.iss}", digest, claims.exp)

    def restore(self, entries: Iterable[Entry]) -> None:
        """Take back what a store held."""
        for entry in entries:
            if entry.kind == records.BEARER:
                try:
                    header, _ = records.unpack(_Judged, entry.value)
                except DecodeError:
                    self._commit(entry.kind, entry.key, None)
                    continue
                self._hold(entry.key[0], header, BOOT)

    def save(self) -> None:
        """Write down everything once more, for a store that lost it."""
        for digest, judged in self._judged.items():
            self._commit(records.BEARER, (digest,), records.pack(judged))

    def accepted(self, authorization: bytes) -> None:
        """The cloud answered a request with it."""
        _, digest, expires = self.identify(authorization)
        known = self._judged.get(digest)
        if known is None or known.refused:
            self._judge(digest, _Judged(expires))
        else:
            self._judged.use(digest)

    def _judge(self, digest: str, judged: _Judged) -> None:
        self._hold(digest, judged, self._clock())
        self._commit(records.BEARER, (digest,), records.pack(judged))

    def _hold(self, digest: str, judged: _Judged, now: float) -> None:
        self._judged.put(digest, judged, NEVER if judged.expires is None else judged.expires, now)

    def _forget(self, digest: str) -> None:
        self._commit(records.BEARER, (digest,), None)

    def issued(self, token: str) -> None:
        """The cloud made this token for a pod: it is as good as accepted."""
        self.accepted(b"Bearer " + token.encode())

    def refused(self, authorization: bytes) -> None:
        """The cloud answered 401. Of a token that would be believed it is remembered, others are nothing."""
        _, digest, expires = self.identify(authorization)
        known = self._judged.get(digest)
        if known is not None and known.refused:
            return
        if self._is_signed(authorization, digest):
            self._judge(digest, _Judged(expires, refused=True))
        elif known is not None:
            self._judged.remove(digest)
            self._forget(digest)

    def is_accepted(self, authorization: bytes) -> bool:
        """Whether it may be believed without the cloud."""
        _, digest, expires = self.identify(authorization)
        known = self._judged.get(digest)
        if known is not None:
            return not known.refused and (expires is None or expires > self._clock())
        return self._is_signed(authorization, digest)

    def _is_signed(self, authorization: bytes, digest: str) -> bool:
        if self._issuer is None:
            return False
        until = self._verified.get(digest)
        if until is None:
            try:
                until = self._issuer.verify(bearer_token(authorization)).exp
            except TokenError as problem:
                _log.debug("a token is not believed: {problem}", problem=problem)
                return False
            if len(self._verified) >= _MAX_HELD:
                del self._verified[next(iter(self._verified))]
            self._verified[digest] = until
        return until > self._clock()

    def keys_changed(self) -> None:
        """The issuer has other keys: signatures are looked at anew."""
        self._verified.clear()
        self._identified.clear()
