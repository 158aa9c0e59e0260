"""Bearer tokens: whom they name, and whether they are believed while the cloud is away. Pure.

It is believed what the cloud said when it was asked whose the token is, and what the issuer's keys signed. A
token is never stored, only its hash.
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
from superedge.kube.memo import LONGEST
from superedge.liteapiserver.access.expiring import BOOT, NEVER, Expiring
from superedge.liteapiserver.access.jwt import SUBJECT, Claims, TokenError
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.records import Commit

ANONYMOUS = "anonymous"
UNATTRIBUTED = "unattributed"
"""Who presents credentials that are not one bearer token."""
_NOBODY = frozenset({"", "system:anonymous"})
_MAX_HELD = 1000
MAX_JUDGED = 10_000
"""Tokens of which is remembered what the cloud said. Some never expire, and an API server lets a kubelet's
tokens live for a year, though new ones are made every hour."""
_LONGEST_NAME = 600
"""Characters of the longest name that claims give."""
_CLAIMED = "token:"
"""How a name begins that is made of claims."""
_IN_SUBJECT = "/:.,+ "
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()

_log = Logger()


class _Claims(msgspec.Struct):
    sub: str = ""
    iss: str = ""
    exp: float | None = None


class _Judged(msgspec.Struct, omit_defaults=True):
    """What the cloud said of a token; ``owner`` is whom the token names."""

    owner: str
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
    except (binascii.Error, *JSON_FAULTS):
        return None
    return claims if claims.sub else None


class Identified(NamedTuple):
    """Of a token: a name for the cache, its hash, its subject and Unix time of expiry if it has them."""

    name: str
    digest: str
    subject: str
    expires: float | None


class Judge(Protocol):
    """Who signs tokens, as `superedge.liteapiserver.access.issuer.Issuer` knows it."""

    @property
    def name(self) -> str:
        """The issuer, empty while its keys are not known."""

    def verify(self, token: str) -> Claims:
        """The claims of a token that is to be believed. Raises TokenError."""

    def disowns(self, issuer: str, token: str) -> bool:
        """Whether a token says that it is of this issuer and is not."""


class Credentials:
    """Which tokens are believed without the cloud."""

    def __init__(self, commit: Commit, clock: Callable[[], float], issuer: Judge | None = None) -> None:
        """Without ``issuer`` only what the cloud accepted is believed. ``clock`` gives Unix time."""
        self._commit = commit
        self._clock = clock
        self._issuer = issuer
        self._judged: Expiring[str, _Judged] = Expiring(MAX_JUDGED, self._forget)
        # Until when, by hash, a signature was found good.
        self._verified: dict[str, float] = {}
        # By the token itself, which comes with each request.
        self._identified: dict[str, Identified] = {}

    def identify(self, token: str) -> Identified:
        """Whom it names. That opens nothing: the cloud has to accept it, or its signature to be right.

        All tokens of one subject of one issuer have one name. A token that claims to be of the cluster's
        issuer and is not signed by it has a name of its own, whoever else may accept it.
        """
        found = self._identified.get(token)
        if found is None:
            found = self._identify(token, sha256(token.encode()).hexdigest())
            if len(token) <= LONGEST:
                if len(self._identified) >= _MAX_HELD:
                    del self._identified[next(iter(self._identified))]
                self._identified[token] = found
        return found

    def _identify(self, token: str, digest: str) -> Identified:
        claims = read_claims(token)
        if claims is None or len(claims.sub) + len(claims.iss) > _LONGEST_NAME:
            return Identified(f"credential:{digest}", digest, "", claims.exp if claims else None)
        if self._issuer is not None and self._issuer.disowns(claims.iss, token):
            return Identified(f"credential:{digest}", digest, claims.sub, claims.exp)
        subject = quote(claims.sub, safe=_IN_SUBJECT)
        return Identified(f"{_CLAIMED}{subject}@{claims.iss}", digest, claims.sub, claims.exp)

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

    def is_judged(self, digest: str) -> bool:
        """Whether the cloud said of a token, by its hash, that it is good, and has not refused it since."""
        known = self._judged.get(digest)
        if known is None or known.refused:
            return False
        self._judged.use(digest)
        return True

    def accepted(self, token: str, username: str) -> bool:
        """The cloud says whose token it is; whether that makes it believed.

        An anonymous user means that the cloud saw no token in what it was sent. The name of a service
        account's token is made of its claims, which have to be those that the cloud read.
        """
        found = self.identify(token)
        claimed = found.name.startswith(_CLAIMED) and found.subject.startswith(SUBJECT)
        if username in _NOBODY or (claimed and found.subject != username):
            return False
        self._judge(found, refused=False)
        return True

    def _judge(self, found: Identified, refused: bool) -> None:
        judged = _Judged(found.name, found.expires, refused)
        self._hold(found.digest, judged, self._clock())
        self._commit(records.BEARER, (found.digest,), records.pack(judged))

    def _hold(self, digest: str, judged: _Judged, now: float) -> None:
        # Refused ones have a share together: who makes them up pushes out no other.
        owner = "" if judged.refused else judged.owner
        self._judged.put(owner, digest, judged, NEVER if judged.expires is None else judged.expires, now)

    def _forget(self, digest: str) -> None:
        self._commit(records.BEARER, (digest,), None)

    def refused(self, token: str) -> bool:
        """The cloud answered 401; whether that tells something new.

        It is remembered of a token that would be believed, now or once the issuer's keys are known. Others
        are nothing.
        """
        found = self.identify(token)
        known = self._judged.get(found.digest)
        if known is not None and known.refused:
            return False
        unknown_issuer = self._issuer is not None and not self._issuer.name and bool(found.subject)
        if known is None and not unknown_issuer and not self._is_signed(token, found.digest):
            return False
        self._judge(found, refused=True)
        return True

    def objection(self, token: str) -> str:
        """Why a token is not believed without the cloud; empty for one that is."""
        found = self.identify(token)
        known = self._judged.get(found.digest)
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
