"""Reads DeleteOptions, and the Status of a deletion. Pure.

Sources: apimachinery pkg/apis/meta/v1: DeleteOptions (protobuf: dryRun 5), Status (details 5, in it uid 6).
"""

from __future__ import annotations

import msgspec

from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.protobuf import MAGIC, split_envelope
from superedge.kube.wire import BYTES, walk

_DRY_RUN = 5
_DETAILS, _DETAILS_UID = 5, 6


class _Options(msgspec.Struct):
    dryRun: list[str] | None = None


class _Details(msgspec.Struct):
    uid: str = ""


class _Status(msgspec.Struct):
    details: _Details | None = None


_options = msgspec.json.Decoder(_Options)
_status = msgspec.json.Decoder(_Status)


def is_dry_run(options: bytes) -> bool:
    """Whether DeleteOptions ask for a dry run, or name that field in a form that is not decoded here."""
    if not options:
        return False
    try:
        if options.startswith(MAGIC):
            raw = split_envelope(options)[2]
            return any(number == _DRY_RUN for number, _, _, _ in walk(raw))
        return bool(_options.decode(options).dryRun)
    except (DecodeError, *JSON_FAULTS):
        return b"dryRun" in options  # CBOR (RFC 8949) and YAML have names as plain text


def deleted_uid(status: bytes) -> str:
    """The uid of the deleted object in a Status, or an empty string. Raises DecodeError."""
    try:
        if not status.startswith(MAGIC):
            details = _status.decode(status).details
            return details.uid if details is not None else ""
        raw = split_envelope(status)[2]
        for number, wire, start, end in walk(raw):
            if number == _DETAILS and wire == BYTES:
                for inner, inner_wire, a, b in walk(raw, start, end):
                    if inner == _DETAILS_UID and inner_wire == BYTES:
                        return raw[a:b].decode()
    except JSON_FAULTS as problem:
        raise DecodeError(f"not a Status: {problem}") from problem
    return ""
