"""A small certificate authority for development, demos and tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from superedge.errors import IdentityError
from superedge.tls.identity import Identity, load_certificates, load_identity

LIFETIME = timedelta(days=365)
BACKDATED = timedelta(minutes=5)
"""How long before its creation a certificate becomes valid: clocks differ, and may be set back."""


class Authority:
    """Issues ECDSA P-256 certificates for servers and clients."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, path: Path) -> None:
        self._certificate = certificate
        self._key = key
        self.path = path
        """The file of the CA's certificate (PEM)."""

    @classmethod
    def create(cls, directory: Path, common_name: str = "SuperEdge development CA") -> Authority:
        """Create an authority in ``directory``: ``ca.crt`` and ``ca.key`` (mode 0600)."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name, ())
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(name, name, key, datetime.now(UTC) - BACKDATED, LIFETIME * 10)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, SHA256())
        )
        directory.mkdir(parents=True, exist_ok=True)
        _write_pair(directory, "ca", certificate, key)
        return cls(certificate, key, directory / "ca.crt")

    @classmethod
    def load(cls, directory: Path) -> Authority:
        """Load the authority in ``directory``. Raises IdentityError."""
        path = directory / "ca.crt"
        load_certificates(path)
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        try:
            key = load_pem_private_key((directory / "ca.key").read_bytes(), None)
        except (OSError, ValueError) as problem:
            raise IdentityError(directory / "ca.key", "is not a usable CA key") from problem
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise IdentityError(directory / "ca.key", "is not an elliptic curve key")
        return cls(certificate, key, path)

    def issue(
        self,
        common_name: str,
        organizations: Sequence[str] = (),
        dns: Sequence[str] = (),
        ips: Sequence[str] = (),
        *,
        directory: Path,
        name: str | None = None,
        not_before: datetime | None = None,
        lifetime: timedelta = LIFETIME,
    ) -> Identity:
        """Write ``directory/name.crt`` and ``name.key`` (mode 0600), and return them.

        ``name`` is by default the common name with ``:`` and ``/`` replaced by ``-``.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        begin = not_before or datetime.now(UTC) - BACKDATED
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = (
            _builder(_name(common_name, organizations), self._certificate.subject, key, begin, lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        alternatives: list[x509.GeneralName] = [x509.DNSName(text) for text in dns]
        alternatives += [x509.IPAddress(ip_address(text)) for text in ips]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        directory.mkdir(parents=True, exist_ok=True)
        stem = name or common_name.replace(":", "-").replace("/", "-")
        _write_pair(directory, stem, builder.sign(self._key, SHA256()), key)
        return load_identity(directory / f"{stem}.crt", directory / f"{stem}.key")


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, text) for text in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begin: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + lifetime)
    )


def _write_pair(
    directory: Path, stem: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _replace(directory / f"{stem}.key", pem, 0o600)
    _replace(directory / f"{stem}.crt", certificate.public_bytes(Encoding.PEM), 0o644)


def _replace(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
