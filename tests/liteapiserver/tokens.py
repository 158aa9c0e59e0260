"""Tokens as a cluster's issuer signs them, and as those who forge them do."""

from __future__ import annotations

import base64
import json
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://kubernetes.default.svc.cluster.local"
ACCOUNT = "system:serviceaccount:default:web"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Signer:
    """A key pair; ``kind`` is RS256 or ES256."""

    def __init__(self, kind: str = "RS256", kid: str = "one", bits: int = 2048) -> None:
        self.kind = kind
        self.kid = kid
        self._bits = bits

    @cached_property
    def key(self) -> Any:
        """Made when it is first used: a large RSA key takes long, and many processes load the tests."""
        if self.kind == "RS256":
            return rsa.generate_private_key(65537, self._bits)
        return ec.generate_private_key(ec.SECP256R1())

    def jwk(self, **changes: str) -> dict[str, str]:
        numbers = self.key.public_key().public_numbers()
        if self.kind == "RS256":
            found = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        else:
            point = (encode(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
            found = {"kty": "EC", "crv": "P-256", **dict(zip("xy", point, strict=True))}
        return {**found, "kid": self.kid, "use": "sig", "alg": self.kind, **changes}

    def sign(self, signed: bytes) -> bytes:
        if self.kind == "RS256":
            return bytes(self.key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))
        halves = decode_dss_signature(self.key.sign(signed, ec.ECDSA(hashes.SHA256())))
        return b"".join(half.to_bytes(32, "big") for half in halves)

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A good token but for what is given; a claim of None is left out."""
        head = {"alg": self.kind, "kid": self.kid, **(header or {})}
        body = {"iss": ISSUER, "sub": ACCOUNT, "aud": [ISSUER], "exp": 2_000, "nbf": 900, **claims}
        body = {key: value for key, value in body.items() if value is not None}
        signed = ".".join(encode(json.dumps(part).encode()) for part in (head, body))
        return f"{signed}.{encode(self.sign(signed.encode()))}"


def key_set(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.jwk() for signer in signers]}).encode()


def configuration(issuer: str = ISSUER) -> bytes:
    return json.dumps({"issuer": issuer, "jwks_uri": "https://198.51.100.1/openid/v1/jwks"}).encode()
