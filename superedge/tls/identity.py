"""Identities: a certificate and its private key in files. The certificate's common name is its name."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from superedge.errors import IdentityError
from superedge.tls.x509 import Certificate, parse_certificates


@dataclass(frozen=True, slots=True)
class Identity:
    """A valid pair. ``key`` may be the same file as ``certificate`` (kubelet's combined PEM)."""

    name: str
    certificate: Path
    key: Path
    not_before: datetime
    not_after: datetime
    serial: int
    organizations: frozenset[str]
    """The Kubernetes groups of the identity."""


def load_identity(certificate: Path, key: Path, context: ssl.SSLContext | None = None) -> Identity:
    """Load a pair, also into ``context``, and check that the key belongs to the certificate.

    Raises IdentityError.
    """
    leaf = load_certificates(certificate)[0]
    _load_key(context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)
    if not leaf.common_names:
        raise IdentityError(certificate, "has no common name (CN)")
    return Identity(
        name=leaf.common_names[-1],
        certificate=certificate,
        key=key,
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        serial=leaf.serial,
        organizations=frozenset(leaf.organizations),
    )


def _load_key(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _read(key)
    try:
        # An empty password: otherwise OpenSSL would ask on the terminal for that of an encrypted key.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, ValueError, OSError) as problem:
        if getattr(problem, "reason", None) in _MISMATCHES:
            raise IdentityError(key, f"is not the key of {certificate}") from problem
        raise IdentityError(key, "does not contain an unencrypted PEM private key") from problem


_MISMATCHES = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"})


def load_certificates(path: Path) -> Sequence[Certificate]:
    """All certificates of a PEM file, at least one. Raises IdentityError."""
    try:
        found = parse_certificates(_read(path))
    except ValueError as problem:
        raise IdentityError(path, f"contains an invalid certificate: {problem}") from problem
    if not found:
        raise IdentityError(path, "contains no PEM certificate")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise IdentityError(path, f"cannot be read: {problem.strerror}") from problem
