"""What is wrong with files that can be read and used, but will not do: dates and permissions.

Sentences for a person, none of them a reason not to start: a certificate may be renewed, or a clock be set, a
moment later.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from superedge.errors import IdentityError
from superedge.tls.identity import load_certificates
from superedge.tls.x509 import Certificate


def pair_concerns(certificate: Path, key: Path, now: datetime) -> Iterator[str]:
    """Of a certificate that is shown to others, and its key."""
    try:
        leaf = load_certificates(certificate)[0]
    except IdentityError:
        return  # says so where it is used
    if when := _not_good(leaf, now):
        yield f"{certificate}: {when}: whoever is shown it will refuse it"
    yield from secret_concerns(key)


def authority_concerns(path: Path, now: datetime) -> Iterator[str]:
    """Of a file of CAs."""
    try:
        found = load_certificates(path)
    except IdentityError:
        return
    authorities = [each for each in found if each.is_ca]
    if not authorities:
        yield f"{path}: holds no certificate of a CA: is it one that a CA has signed?"
    elif all(_not_good(each, now) for each in authorities):
        yield f"{path}: {_not_good(authorities[-1], now)}: no certificate that it signed is accepted"


def secret_concerns(path: Path) -> Iterator[str]:
    """Of a file that nobody else may read."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return
    if mode & 0o007:
        yield f"{path}: its mode, {mode:04o}, lets every user of this machine have it: chmod 0600"


def _not_good(certificate: Certificate, now: datetime) -> str:
    """Why it is not valid at this moment; nothing when it is."""
    if now > certificate.not_after:
        return f"expired at {certificate.not_after:%Y-%m-%dT%H:%M:%SZ}"
    if now < certificate.not_before:
        return f"is not valid before {certificate.not_before:%Y-%m-%dT%H:%M:%SZ}, by this machine's clock"
    return ""
