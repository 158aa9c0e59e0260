"""Authentication by certificates and bearer tokens, and authorization. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from superedge.testing.status import unauthorized

ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated (or anonymous) client."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def info(self) -> dict[str, Any]:
        """`authentication.k8s.io/v1 UserInfo`."""
        found: dict[str, Any] = {"username": self.name, "groups": list(self.groups)}
        if self.uid:
            found["uid"] = self.uid
        if self.extra:
            found["extra"] = {key: list(value) for key, value in self.extra.items()}
        return found


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class Attributes:
    """The action to authorize. For non-resource requests, ``path`` is set and ``resource`` is empty."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


Authorizer = Callable[[User, Attributes], bool]

_OPEN_PATHS = ("/healthz", "/livez", "/readyz", "/version")


def allow_authenticated(user: User, attributes: Attributes) -> bool:
    """The default authorizer: authenticated users may do everything, others read health and version."""
    return user.name != ANONYMOUS.name or attributes.path.startswith(_OPEN_PATHS)


def authorize(authorizer: Authorizer, user: User, attributes: Attributes) -> bool:
    """Whether a user may: members of system:masters always, others as ``authorizer`` decides."""
    return "system:masters" in user.groups or authorizer(user, attributes)


def with_authenticated(name: str, groups: Sequence[str]) -> User:
    """A user with the group ``system:authenticated``."""
    return User(name, (*groups, "system:authenticated"))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Tokens:
    """Bearer tokens: a static table, and signed JSON web tokens (ES256) of service accounts."""

    def __init__(self, static: Mapping[str, User] | None = None, key: bytes | None = None) -> None:
        self.static = dict(static or {})
        loaded = load_pem_private_key(key, None) if key else ec.generate_private_key(ec.SECP256R1())
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ValueError("tokens are signed with a P-256 key")
        self._key = loaded

    def private_pem(self) -> bytes:
        """The signing key (PEM), for a later ``Tokens``."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def issue(
        self, namespace: str, name: str, uid: str, audiences: Sequence[str], now: float, seconds: float
    ) -> str:
        """A token of a service account, valid for ``seconds``."""
        claims = {
            "aud": list(audiences) or [ISSUER],
            "exp": int(now + seconds),
            "iat": int(now),
            "iss": ISSUER,
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}},
            "nbf": int(now),
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        head = {"alg": "ES256", "typ": "JWT"}
        signed = f"{_base64(msgspec.json.encode(head))}.{_base64(msgspec.json.encode(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(SHA256())))
        return f"{signed}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def authenticate(self, token: str, now: float) -> User:
        """The token's user. Raises APIError 401."""
        known = self.static.get(token)
        if known is not None:
            return known
        try:
            signed, _, signature = token.rpartition(".")
            raw = _unbase64(signature)
            pair = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
            self._key.public_key().verify(pair, signed.encode(), ec.ECDSA(SHA256()))
            claims = msgspec.json.decode(_unbase64(signed.partition(".")[2]))
        except (InvalidSignature, binascii.Error, ValueError) as problem:
            raise unauthorized() from problem
        if not claims["nbf"] <= now < claims["exp"]:
            raise unauthorized()
        _, _, namespace, _ = claims["sub"].split(":")
        groups = (
            "system:serviceaccounts",
            f"system:serviceaccounts:{namespace}",
            "system:authenticated",
        )
        return User(claims["sub"], groups, claims["kubernetes.io"]["serviceaccount"]["uid"])
