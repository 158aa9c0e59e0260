"""Parses names, dates and keys of certificates. Pure.

OpenSSL verifies certificates; this module only reads their fields. The library cryptography can do that, too,
but takes 12 MiB of an edge node's memory. Sources: RFC 5280 section 4.1, ITU-T X.690 (DER), RFC 7468 (PEM).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_BOOLEAN, _INTEGER, _OID, _SEQUENCE, _SET = 0x01, 0x02, 0x06, 0x30, 0x31
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_TEXTS = {
    0x0C: "utf-8",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}
_COMMON_NAME = bytes.fromhex("550403")
_ORGANIZATION = bytes.fromhex("55040a")
_BASIC_CONSTRAINTS = bytes.fromhex("551d13")


class Certificate(NamedTuple):
    """One certificate, with the CNs and Os of its subject in order."""

    common_names: tuple[str, ...]
    organizations: tuple[str, ...]
    serial: int
    not_before: datetime
    not_after: datetime
    is_ca: bool
    """Whether it may sign certificates."""
    signer: bytes
    """Subject and public key (DER), against which the certificates that it signed are verified. They do not
    change when the certificate of a CA is renewed."""


class _Value(NamedTuple):
    """A DER value: its tag, and the indices of its content."""

    tag: int
    start: int
    end: int


def parse_certificates(pem: bytes) -> list[Certificate]:
    """All certificates in PEM text; other blocks are skipped. Raises ValueError when one is invalid."""
    return [parse_certificate(_decode(found[1])) for found in _PEM.finditer(pem)]


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as problem:
        raise ValueError(f"not base64: {problem}") from problem


def parse_certificate(der: bytes) -> Certificate:
    """Parse one certificate. Raises ValueError when it is invalid."""
    try:
        return _parse(der)
    except (IndexError, StopIteration, UnicodeDecodeError) as problem:
        raise ValueError("not a certificate") from problem


def _parse(der: bytes) -> Certificate:
    (outer,) = _values(der, 0, len(der))
    signed = next(_values(der, *_content(outer, _SEQUENCE)))
    fields = _values(der, *_content(signed, _SEQUENCE))
    serial = next(fields)
    if serial.tag == _VERSION:
        serial = next(fields)
    start, end = _content(serial, _INTEGER)
    next(fields)  # the signature's algorithm
    next(fields)  # the issuer
    begins, ends = _values(der, *_content(next(fields), _SEQUENCE))
    subject, public_key = next(fields), next(fields)
    names = list(_names(der, subject))
    return Certificate(
        tuple(text for kind, text in names if kind == _COMMON_NAME),
        tuple(text for kind, text in names if kind == _ORGANIZATION),
        int.from_bytes(der[start:end], signed=True),
        _time(der, begins),
        _time(der, ends),
        any(_is_ca(der, field) for field in fields if field.tag == _EXTENSIONS),
        der[subject.start : subject.end] + der[public_key.start : public_key.end],
    )


def _values(der: bytes, at: int, end: int) -> Iterator[_Value]:
    """The consecutive values from ``at`` to ``end``."""
    while at < end:
        tag, size = der[at], der[at + 1]
        at += 2
        if size > 0x80:
            count = size & 0x7F
            size = int.from_bytes(der[at : at + count])
            at += count
        if size > end - at:
            raise ValueError("a value exceeds its container")
        yield _Value(tag, at, at + size)
        at += size


def _first(der: bytes, outer: _Value) -> _Value:
    for value in _values(der, outer.start, outer.end):
        return value
    raise ValueError("a value is missing")


def _content(value: _Value, tag: int) -> tuple[int, int]:
    if value.tag != tag:
        raise ValueError(f"a value has the type {value.tag:#x} instead of {tag:#x}")
    return value.start, value.end


def _names(der: bytes, subject: _Value) -> Iterator[tuple[bytes, str]]:
    for part in _values(der, *_content(subject, _SEQUENCE)):
        for pair in _values(der, *_content(part, _SET)):
            kind, text = _values(der, *_content(pair, _SEQUENCE))
            start, end = _content(kind, _OID)
            if text.tag in _TEXTS:
                yield der[start:end], der[text.start : text.end].decode(_TEXTS[text.tag])


def _time(der: bytes, value: _Value) -> datetime:
    text = der[value.start : value.end].decode("ascii")
    if value.tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text  # RFC 5280 section 4.1.2.5.1
    elif value.tag != _GENERALIZED_TIME:
        raise ValueError("a date is neither UTCTime nor GeneralizedTime")
    if len(text) != 15 or not text.endswith("Z"):
        raise ValueError("a date is not in UTC with seconds")
    month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
    return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC)


def _is_ca(der: bytes, extensions: _Value) -> bool:
    for extension in _values(der, *_content(_first(der, extensions), _SEQUENCE)):
        parts = list(_values(der, *_content(extension, _SEQUENCE)))
        if der[parts[0].start : parts[0].end] == _BASIC_CONSTRAINTS:
            for value in _values(der, *_content(_first(der, parts[-1]), _SEQUENCE)):
                return value.tag == _BOOLEAN and der[value.start] != 0
    return False
