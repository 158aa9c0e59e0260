"""Warnings about certificates and keys that can be loaded but are unlikely to work: dates, permissions.

A process starts in spite of them: the certificate may be renewed or the clock may be set a moment later.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from superedge.errors import ConfigWarning, IdentityError
from superedge.tls.identity import load_certificates
from superedge.tls.x509 import Certificate


def pair_warnings(certificate: Path, key: Path, now: datetime) -> Iterator[ConfigWarning]:
    """Warnings about a certificate that this process presents, and about its key."""
    try:
        leaf = load_certificates(certificate)[0]
    except IdentityError:
        return  # reported as an error where the file is used
    if when := _invalid(leaf, now):
        yield ConfigWarning(f"{certificate}: {when}: peers will refuse it", temporary=True)
    yield from secret_warnings(key)


def authority_warnings(path: Path, now: datetime) -> Iterator[ConfigWarning]:
    """Warnings about a file of CA certificates."""
    try:
        found = load_certificates(path)
    except IdentityError:
        return
    authorities = [each for each in found if each.is_ca]
    if not authorities:
        yield ConfigWarning(f"{path}: contains no CA certificate, only certificates that a CA signed")
    elif all(_invalid(each, now) for each in authorities):
        yield ConfigWarning(
            f"{path}: {_invalid(authorities[-1], now)}: no certificate that it signed is accepted",
            temporary=True,
        )


def secret_warnings(path: Path) -> Iterator[ConfigWarning]:
    """A warning when a file that holds a secret is readable by every user."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return
    if mode & 0o007:
        yield ConfigWarning(
            f"{path}: every user of this machine can read it (mode {mode:04o}): use chmod 0600"
        )


def _invalid(certificate: Certificate, now: datetime) -> str:
    """Why it is not valid now, or ''."""
    if now > certificate.not_after:
        return f"expired at {certificate.not_after:%Y-%m-%dT%H:%M:%SZ}"
    if now < certificate.not_before:
        return f"is not valid before {certificate.not_before:%Y-%m-%dT%H:%M:%SZ}, by this machine's clock"
    return ""
