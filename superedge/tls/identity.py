"""Identities: a certificate and its private key on disk, named by the certificate's common name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from superedge.errors import IdentityError


@dataclass(frozen=True, slots=True)
class Identity:
    """A usable pair. ``key`` may be the same file as ``certificate`` (kubelet's combined PEM)."""

    name: str
    certificate: Path
    key: Path
    not_before: datetime
    not_after: datetime
    serial: int
    organizations: frozenset[str]
    """The Kubernetes groups that the certificate gives."""


def load_identity(certificate: Path, key: Path) -> Identity:
    """Read a pair and check that key and certificate belong together. Raises IdentityError."""
    leaf = load_certificates(certificate)[0]
    try:
        private = load_pem_private_key(_read(key), None)
    except (ValueError, TypeError) as problem:
        raise IdentityError(key, "holds no unencrypted PEM private key") from problem
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise IdentityError(key, f"is not the key of {certificate}")
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names:
        raise IdentityError(certificate, "has no common name (CN)")
    return Identity(
        name=str(names[-1].value),
        certificate=certificate,
        key=key,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        serial=leaf.serial_number,
        organizations=frozenset(
            str(part.value) for part in leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        ),
    )


def load_certificates(path: Path) -> Sequence[x509.Certificate]:
    """Read all certificates of a PEM file, at least one. Raises IdentityError."""
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError as problem:
        raise IdentityError(path, "holds no PEM certificate") from problem


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise IdentityError(path, f"cannot be read: {problem.strerror}") from problem
