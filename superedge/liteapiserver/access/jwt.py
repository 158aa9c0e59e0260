"""Service account tokens verified by signature. Pure: time is an argument.

Sources: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 sections 3.3, 3.4 and 6, RFC 8725 (the key decides
the algorithm, not the token); Kubernetes "Service Account Issuer Discovery".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from superedge.errors import SuperEdgeError
from superedge.kube.errors import JSON_FAULTS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

LEEWAY = 30.0
"""Seconds that the issuer's clock may be ahead of this one."""
SUBJECT = "system:serviceaccount:"
"""The prefix of a service account's user name."""
_MIN_RSA_BITS = 2048
# The curve's name and the bytes of each half of a signature.
_CURVES = {"ES256": ("P-256", 32), "ES384": ("P-384", 48), "ES512": ("P-521", 66)}
_RSA = frozenset({"RS256", "RS384", "RS512"})


class TokenError(SuperEdgeError):
    """A token that is not valid; the text says why without quoting it."""


class Key(msgspec.Struct, omit_defaults=True):
    """A public key of an issuer, as a JWK has it."""

    kty: str
    kid: str = ""
    use: str = ""
    alg: str = ""
    n: str = ""
    e: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""


class _Header(msgspec.Struct):
    alg: str
    kid: str = ""
    crit: list[str] = []


class Claims(msgspec.Struct):
    """Issuer, subject, expiry, audiences and start of validity; times are Unix seconds."""

    iss: str
    sub: str
    exp: float
    aud: str | list[str] = []
    nbf: float = 0.0


_header = msgspec.json.Decoder(_Header)
_claims = msgspec.json.Decoder(Claims)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError) as problem:
        raise TokenError("a part of it is not base64url") from problem


def verify(token: str, keys: Sequence[Key], issuer: str, audiences: Collection[str], now: float) -> Claims:
    """The claims of a token that is valid at ``now``, Unix time. Raises TokenError."""
    claims = read_signed(token, keys)
    _check_claims(claims, issuer, audiences, now)
    return claims


def read_signed(token: str, keys: Sequence[Key]) -> Claims:
    """The claims of a token that one of ``keys`` signed, without checking them. Raises TokenError."""
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenError("it is no signed JWT")
    try:
        header = _header.decode(_decode(parts[0]))
        claims = _claims.decode(_decode(parts[1]))
    except JSON_FAULTS as problem:
        raise TokenError("it lacks what a service account's token has") from problem
    if header.crit:
        raise TokenError("it demands extensions that are not known here")
    _check_signature(header, keys, f"{parts[0]}.{parts[1]}".encode(), _decode(parts[2]))
    return claims


def _check_claims(claims: Claims, issuer: str, audiences: Collection[str], now: float) -> None:
    audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if claims.iss != issuer:
        raise TokenError("it is of another issuer")
    if not set(audience) & set(audiences):
        raise TokenError("it is meant for another audience")
    if claims.exp <= now:
        raise TokenError("it has expired")
    if claims.nbf > now + LEEWAY:
        raise TokenError("it is not valid yet")
    if not claims.sub.startswith(SUBJECT):
        raise TokenError("it is not a service account's")


def _check_signature(header: _Header, keys: Sequence[Key], signed: bytes, signature: bytes) -> None:
    if header.alg not in _RSA and header.alg not in _CURVES:
        raise TokenError("its algorithm is not one that an issuer of Kubernetes signs with")
    for key in keys:
        if header.kid and key.kid != header.kid:
            continue
        if key.use not in ("", "sig") or key.alg not in ("", header.alg):
            continue
        if header.alg in _RSA and key.kty == "RSA":
            fits = _verify_rsa(header.alg, key, signed, signature)
        elif header.alg in _CURVES and key.kty == "EC":
            fits = _verify_ec(header.alg, key, signed, signature)
        else:
            continue
        if fits:
            return
    raise TokenError("none of the issuer's keys signed it")


def _number(text: str) -> int:
    return int.from_bytes(_decode(text), "big")


def _rsa_key(key: Key) -> RSAPublicKey | None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers  # noqa: PLC0415

    modulus = _number(key.n)
    if modulus.bit_length() < _MIN_RSA_BITS:
        return None
    return RSAPublicNumbers(_number(key.e), modulus).public_key()


def _ec_key(key: Key) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    curves: Mapping[str, ec.EllipticCurve] = {
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
    }
    return ec.EllipticCurvePublicNumbers(_number(key.x), _number(key.y), curves[key.crv]).public_key()


def _verify_rsa(algorithm: str, key: Key, signed: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415

    digest = {"RS256": hashes.SHA256(), "RS384": hashes.SHA384(), "RS512": hashes.SHA512()}[algorithm]
    try:
        public = _rsa_key(key)
        if public is None:
            return False
        public.verify(signature, signed, PKCS1v15(), digest)
    except (InvalidSignature, ValueError, TokenError):
        return False
    return True


def _verify_ec(algorithm: str, key: Key, signed: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature  # noqa: PLC0415

    curve, size = _CURVES[algorithm]
    if key.crv != curve or len(signature) != 2 * size:
        return False
    halves = (int.from_bytes(part, "big") for part in (signature[:size], signature[size:]))
    digest = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384(), "ES512": hashes.SHA512()}[algorithm]
    try:
        _ec_key(key).verify(encode_dss_signature(*halves), signed, ECDSA(digest))
    except (InvalidSignature, ValueError, TokenError):
        return False
    return True
