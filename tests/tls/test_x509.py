"""Certificates are read as the library cryptography reads them, and garbage is refused."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.tls.x509 import Certificate, parse_certificate, parse_certificates

EARLY = datetime(1999, 12, 31, 23, 59, 58, tzinfo=UTC)
LATE = datetime(2061, 2, 3, 4, 5, 6, tzinfo=UTC)


def make(
    names: list[x509.NameAttribute[str]],
    ca: bool | None = None,
    serial: int = 2**150,
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | None = None,
) -> bytes:
    """A certificate in DER; ``ca`` None is one without extensions."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(EARLY)
        .not_valid_after(LATE)
    )
    if ca is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        builder = builder.add_extension(x509.BasicConstraints(ca, 0 if ca else None), True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def name(text: str, form: _ASN1Type = _ASN1Type.UTF8String) -> x509.NameAttribute[str]:
    return x509.NameAttribute(NameOID.COMMON_NAME, text, form)


NODES = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes")
GOOD = make([name("system:node:edge-1"), NODES], False)


class CertificateTests(SynchronousTestCase):
    def test_all_fields(self) -> None:
        organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in ("b", "a")]
        other = x509.NameAttribute(NameOID.COUNTRY_NAME, "DE")
        found = parse_certificate(make([other, *organizations, name("one"), name("Größe")], serial=127))
        self.assertEqual(found.common_names, ("one", "Größe"))
        self.assertEqual(found.organizations, ("b", "a"))
        self.assertEqual(found.serial, 127)
        self.assertEqual((found.not_before, found.not_after), (EARLY, LATE))

    def test_every_kind_of_text(self) -> None:
        for form in ("UTF8String", "PrintableString", "IA5String", "BMPString", "UniversalString"):
            found = parse_certificate(make([name("edge-1", _ASN1Type[form])]))
            self.assertEqual(found.common_names, ("edge-1",), form)

    def test_who_signs_others(self) -> None:
        for ca in (True, False, None):
            self.assertEqual(parse_certificate(make([name("x")], ca)).is_ca, ca is True)

    def test_large_serials_and_other_keys(self) -> None:
        for serial in (1, 128, 2**158):
            der = make([name("x")], True, serial, ed25519.Ed25519PrivateKey.generate())
            self.assertEqual(parse_certificate(der).serial, serial)

    def test_all_of_a_file(self) -> None:
        pem = b"".join(
            b"# a comment\r\n" + x509.load_der_x509_certificate(make([name(text)])).public_bytes(Encoding.PEM)
            for text in ("a", "b")
        )
        for text in (pem, pem.replace(b"\n", b"\r\n")):
            self.assertEqual([each.common_names for each in parse_certificates(text)], [("a",), ("b",)])
        self.assertEqual(parse_certificates(b"-----BEGIN CERTIFICATE-----\nMII"), [])
        broken = pem.replace(b"\nMII", b"\n*II")
        self.assertRaises(ValueError, parse_certificates, broken)

    def test_cut_anywhere(self) -> None:
        for size in range(len(GOOD)):
            self.assertRaises(ValueError, parse_certificate, GOOD[:size])

    def read_or_refused(self, der: bytes) -> None:
        try:
            found = parse_certificate(der)
        except ValueError:
            return
        self.assertIsInstance(found, Certificate)

    def test_a_value_emptied_anywhere(self) -> None:
        for at in range(len(GOOD)):
            self.read_or_refused(GOOD[:at] + b"\0" + GOOD[at + 1 :])

    @given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
    def test_a_changed_byte_is_read_or_refused(self, at: int, value: int) -> None:
        self.read_or_refused(GOOD[:at] + bytes([value]) + GOOD[at + 1 :])

    @given(st.binary(max_size=200))
    def test_garbage(self, data: bytes) -> None:
        self.assertRaises(ValueError, parse_certificate, data)
