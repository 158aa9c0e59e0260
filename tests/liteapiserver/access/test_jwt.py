"""Only what the issuer signed is believed, and only for whom and as long as it says."""

from __future__ import annotations

import hashlib
import hmac
import json
from functools import cache

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.access.jwt import Key, TokenError, verify
from tests.liteapiserver.tokens import ACCOUNT, ISSUER, Signer, encode

RSA, EC, NOT_API_SERVER = Signer(), Signer("ES256", "two"), Signer()


@cache
def issuer_keys() -> list[Key]:
    return [msgspec.convert(signer.jwk(), Key) for signer in (RSA, EC)]


class VerifyTests(SynchronousTestCase):
    def verify(self, token: str, keys: list[Key] | None = None) -> str:
        return verify(token, issuer_keys() if keys is None else keys, ISSUER, [ISSUER], now=1000.0).sub

    def refuse(self, token: str, why: str, keys: list[Key] | None = None) -> None:
        with self.assertRaises(TokenError) as caught:
            self.verify(token, keys)
        self.assertIn(why, str(caught.exception))

    def test_signed_by_either_kind_of_key(self) -> None:
        for signer in (RSA, EC):
            self.assertEqual(self.verify(signer.token()), ACCOUNT)
            self.assertEqual(self.verify(signer.token({"kid": ""})), ACCOUNT)
            self.assertEqual(self.verify(signer.token(aud=ISSUER)), ACCOUNT)

    def test_signed_by_somebody_else(self) -> None:
        self.refuse(NOT_API_SERVER.token(), "none of the issuer's keys")
        self.refuse(Signer("ES256", "two").token(), "none of the issuer's keys")
        self.refuse(RSA.token({"kid": "two"}), "none of the issuer's keys")
        self.refuse(RSA.token({"kid": "new"}), "none of the issuer's keys")

    def test_no_signature_at_all(self) -> None:
        head, claims, _ = RSA.token().split(".")
        self.refuse(f"{head}.{claims}.", "none of the issuer's keys")
        self.refuse(f"{head}.{claims}", "no signed JWT")
        for name in ("none", "None", "NONE", ""):
            unsigned = encode(json.dumps({"alg": name}).encode())
            self.refuse(f"{unsigned}.{claims}.", "algorithm")

    def test_the_public_key_as_a_secret(self) -> None:
        """HS256 with what everybody knows (RFC 8725 section 2.1)."""
        public = RSA.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for secret in (public, public.strip(), RSA.jwk()["n"].encode(), b""):
            claims = RSA.token().split(".")[1]
            signed = f"{encode(json.dumps({'alg': 'HS256', 'kid': 'one'}).encode())}.{claims}"
            mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
            self.refuse(f"{signed}.{encode(mac)}", "algorithm")

    def test_a_key_serves_its_own_algorithm_alone(self) -> None:
        self.refuse(RSA.token({"alg": "ES256"}), "none of the issuer's keys")
        self.refuse(EC.token({"alg": "RS256"}), "none of the issuer's keys")
        self.refuse(EC.token({"alg": "ES384"}), "none of the issuer's keys")
        for signer in (RSA, EC):
            for alg in ("RS256", "ES256"):
                other = [msgspec.convert((EC if signer is RSA else RSA).jwk(), Key)]
                self.refuse(signer.token({"alg": alg, "kid": ""}), "none of the issuer's keys", other)
        self.refuse(RSA.token({"alg": "RS512"}), "none of the issuer's keys")
        self.refuse(RSA.token({"alg": "PS256"}), "algorithm")
        for_encryption = [msgspec.convert(RSA.jwk(use="enc"), Key)]
        self.refuse(RSA.token(), "none of the issuer's keys", for_encryption)

    def test_keys_that_are_too_weak_or_broken(self) -> None:
        weak = Signer(bits=1024)
        self.refuse(weak.token(), "none of the issuer's keys", [msgspec.convert(weak.jwk(), Key)])
        for broken in ({"n": ""}, {"n": "*"}, {"e": ""}, {"e": "AA"}):
            self.refuse(RSA.token(), "none of", [msgspec.convert(RSA.jwk(**broken), Key)])
        for broken in ({"x": ""}, {"y": "AAAA"}, {"crv": "P-384"}, {"crv": "secp256k1"}):
            self.refuse(EC.token(), "none of", [msgspec.convert(EC.jwk(**broken), Key)])

    def test_demands_that_are_not_known(self) -> None:
        self.refuse(RSA.token({"crit": ["b64"]}), "demands")

    def test_claims(self) -> None:
        for changes, why in (
            ({"iss": "https://elsewhere"}, "another issuer"),
            ({"iss": None}, "lacks"),
            ({"aud": ["vault"]}, "another audience"),
            ({"aud": None}, "another audience"),
            ({"exp": 1000}, "expired"),
            ({"exp": None}, "lacks"),
            ({"exp": "never"}, "lacks"),
            ({"nbf": 1100}, "not valid yet"),
            ({"sub": "system:admin"}, "not a service account's"),
            ({"sub": ""}, "not a service account's"),
            ({"sub": None}, "lacks"),
        ):
            self.refuse(RSA.token(**changes), why)
        self.assertEqual(self.verify(RSA.token(nbf=1020, exp=1000.5)), ACCOUNT)

    def test_other_claims_under_the_same_signature(self) -> None:
        head, _, signature = RSA.token().split(".")
        claims = RSA.token(sub="system:serviceaccount:kube-system:admin").split(".")[1]
        self.refuse(f"{head}.{claims}.{signature}", "none of the issuer's keys")

    @settings(max_examples=200)
    @given(st.text(alphabet="abAB09-_.+/= \n", max_size=80))
    def test_anything(self, text: str) -> None:
        for token in (text, RSA.token() + text[:1], text + RSA.token()):
            try:
                self.assertEqual(self.verify(token), ACCOUNT)
            except TokenError:
                continue
            self.assertIn(token.rstrip("="), (RSA.token(), RSA.token() + "="))
