"""Warnings about certificate and key files that can be loaded but are unlikely to work: dates, permissions.

None of them keeps a process from starting: a certificate may be renewed, or the clock be set, a moment later.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from superedge.errors import ConfigWarning, IdentityError
from superedge.tls.identity import load_certificates
from superedge.tls.x509 import Certificate


def pair_warnings(certificate: Path, key: Path, now: datetime) -> Iterator[ConfigWarning]:
    """Warnings about a certificate that this process shows to others, and about its key."""
    try:
        leaf = load_certificates(certificate)[0]
    except IdentityError:
        return  # an error where the file is used
    if when := _not_good(leaf, now):
        yield ConfigWarning(f"{certificate}: {when}: peers will refuse it", passing=True)
    yield from secret_warnings(key)


def authority_warnings(path: Path, now: datetime) -> Iterator[ConfigWarning]:
    """Warnings about a file of CA certificates."""
    try:
        found = load_certificates(path)
    except IdentityError:
        return
    authorities = [each for each in found if each.is_ca]
    if not authorities:
        yield ConfigWarning(f"{path}: holds no CA certificate, only certificates that a CA signed")
    elif all(_not_good(each, now) for each in authorities):
        yield ConfigWarning(
            f"{path}: {_not_good(authorities[-1], now)}: no certificate that it signed is accepted",
            passing=True,
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


def _not_good(certificate: Certificate, now: datetime) -> str:
    """Why it is not valid now; empty when it is."""
    if now > certificate.not_after:
        return f"expired at {certificate.not_after:%Y-%m-%dT%H:%M:%SZ}"
    if now < certificate.not_before:
        return f"is not valid before {certificate.not_before:%Y-%m-%dT%H:%M:%SZ}, by this machine's clock"
    return ""
