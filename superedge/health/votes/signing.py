"""Signatures of ballots, made with a node's private key and verified by its certificate. Pure but for files.

A voter's certificate must be signed by a CA that is trusted with nodes, be good now, and name the voter: its
common name is ``NAME`` or ``system:node:NAME``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from OpenSSL import crypto

from superedge.errors import IdentityError
from superedge.health.votes.ballot import Ballot, Refused, SignedBallot, decode_ballot, encode_ballot
from superedge.tls.identity import load_identity
from superedge.tls.x509 import parse_certificate

CONTEXT = b"superedge ballot 1\0"
"""Prefix of the signed bytes, so that no signature for another purpose is valid for a ballot."""
MAX_CHAIN = 4
"""Maximum length of a voter's certificate chain."""
MAX_CERTIFICATE = 16 * 1024

NodeOf = Callable[[str | None, Collection[str], int], str | None]
"""The node that a certificate identifies, by common name, organizations and serial number, or None."""


def key_id(der: bytes) -> bytes:
    """The identifier of a certificate in ballots."""
    return sha256(der).digest()[:16]


class Signer:
    """Signs with a node's private key."""

    chain: tuple[bytes, ...]
    """The certificate chain, DER."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises IdentityError."""
        self.load(certificate, key)

    def load(self, certificate: Path, key: Path) -> None:
        """Sign with this pair from now on. Raises IdentityError; the pair before stays in use then."""
        load_identity(certificate, key)
        try:
            chain = x509.load_pem_x509_certificates(certificate.read_bytes())
            private = load_pem_private_key(key.read_bytes(), None)
        except OSError as problem:
            raise IdentityError(
                Path(str(problem.filename)), f"cannot be read: {problem.strerror}"
            ) from problem
        except (ValueError, TypeError, UnsupportedAlgorithm) as problem:
            raise IdentityError(key, f"no pair to sign with: {problem}") from problem
        self._sign = _signing(key, private)
        self.chain = tuple(each.public_bytes(Encoding.DER) for each in chain[:MAX_CHAIN])
        self._key_id = key_id(self.chain[0])

    def sign(self, ballot: Ballot) -> SignedBallot:
        """Sign a ballot."""
        body = encode_ballot(ballot)
        return SignedBallot(body, self._sign(CONTEXT + body), self._key_id)


def _signing(path: Path, private: Any) -> Callable[[bytes], bytes]:
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return lambda data: private.sign(data, ec.ECDSA(SHA256()))
    if isinstance(private, rsa.RSAPrivateKey):
        return lambda data: private.sign(data, padding.PKCS1v15(), SHA256())
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign
    raise IdentityError(path, "cannot sign ballots: an EC, RSA or Ed25519 key can")


@dataclass(frozen=True, slots=True)
class _Voter:
    name: str
    chain: tuple[bytes, ...]
    public: Any
    not_before: int
    not_after: int

    def good(self, now: int) -> bool:
        """Whether the certificate is valid at this time. All times are milliseconds since 1970."""
        return self.not_before <= now <= self.not_after


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


class Verifier:
    """Verifies ballots with certificates that it has verified before; it remembers ``limit`` of them."""

    def __init__(self, ca: Sequence[Path], node_of: NodeOf, limit: int = 1024) -> None:
        """Raises IdentityError."""
        self._ca = tuple(ca)
        self._node_of = node_of
        self._limit = limit
        self._known: OrderedDict[bytes, _Voter] = OrderedDict()
        self._trusted = self._load()

    def _load(self) -> list[crypto.X509]:
        found: list[crypto.X509] = []
        for path in self._ca:
            try:
                authorities = x509.load_pem_x509_certificates(path.read_bytes())
            except OSError as problem:
                raise IdentityError(path, f"cannot be read: {problem.strerror}") from problem
            except ValueError as problem:
                raise IdentityError(path, f"holds no usable CA: {problem}") from problem
            found += map(crypto.X509.from_cryptography, authorities)
        return found

    def _store(self, now: int) -> crypto.X509Store:
        """A store's time can be set but once."""
        store = crypto.X509Store()
        for authority in self._trusted:
            store.add_cert(authority)
        store.set_time(datetime.fromtimestamp(now / 1000, UTC))
        return store

    def reload(self) -> None:
        """Read the CAs again and forget all certificates. Raises IdentityError."""
        self._trusted = self._load()
        self._known.clear()

    def learn(self, chain: Sequence[bytes], now: int) -> str:
        """Verify and remember a voter's certificate chain (DER). Returns the voter's name. Raises Refused.

        A certificate that is not valid yet is remembered, too, because it is shown only once: `check` refuses
        its ballots until it is. A new one may be valid from a moment on that this clock has not reached.
        """
        if not 0 < len(chain) <= MAX_CHAIN or any(len(der) > MAX_CERTIFICATE for der in chain):
            raise Refused("identity", "a certificate chain that is empty or too long")
        key = key_id(chain[0])
        known = self._known.get(key)
        if known is not None and known.good(now):
            return known.name
        try:
            leaf, *others = (x509.load_der_x509_certificate(der) for der in chain)
            begin, end = map(_milliseconds, (leaf.not_valid_before_utc, leaf.not_valid_after_utc))
            crypto.X509StoreContext(
                self._store(max(now, begin)),
                crypto.X509.from_cryptography(leaf),
                [crypto.X509.from_cryptography(other) for other in others],
            ).verify_certificate()
            parsed = parse_certificate(chain[0])
            public = leaf.public_key()
        except (ValueError, UnsupportedAlgorithm, crypto.Error, crypto.X509StoreContextError) as problem:
            raise Refused("identity", f"a voter's certificate is refused: {problem}") from problem
        names = parsed.common_names
        name = self._node_of(names[-1] if names else None, parsed.organizations, parsed.serial)
        if name is None:
            raise Refused("identity", f"a voter's certificate is no node's, or is denied: {names}")
        self._known[key] = _Voter(name, tuple(chain), public, begin, end)
        self._known.move_to_end(key)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
        return name

    def chain_of(self, signed: SignedBallot) -> tuple[bytes, ...] | None:
        """The certificate chain of a ballot's voter, None if it is not remembered."""
        voter = self._known.get(signed.key)
        return None if voter is None else voter.chain

    def check(self, signed: SignedBallot, now: int) -> Ballot:
        """Decode a ballot and verify its signature. Raises Refused."""
        voter = self._known.get(signed.key)
        if voter is None:
            raise Refused("unknown-certificate", "a ballot of a voter whose certificate was not shown")
        ballot = decode_ballot(signed.body)
        if voter.name != ballot.voter:
            raise Refused("identity", f"{voter.name} signed a ballot of {ballot.voter}")
        if not voter.good(now):
            raise Refused("identity", f"the certificate of {voter.name} is not good now")
        if not _signed(voter.public, signed.signature, CONTEXT + signed.body):
            raise Refused("signature", f"a ballot of {ballot.voter} has a signature that is not its own")
        self._known.move_to_end(signed.key)
        return ballot


def _signed(public: Any, signature: bytes, data: bytes) -> bool:
    try:
        if isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, data, ec.ECDSA(SHA256()))
        elif isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, data, padding.PKCS1v15(), SHA256())
        elif isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(signature, data)
        else:
            return False
    except InvalidSignature:
        return False
    return True
