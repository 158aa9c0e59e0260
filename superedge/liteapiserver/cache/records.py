"""The format of stored records: a header as one line of JSON, then the body. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from superedge.kube.errors import JSON_FAULTS, DecodeError

OBJECT, VIEW, ABSENT, SHARED, DOCUMENT = "object", "view", "absent", "shared", "document"
DENIED = "denied"
TOKEN, BEARER, ISSUER = "token", "bearer", "issuer"
STARTED = "started"

H = TypeVar("H", bound=msgspec.Struct)

Commit = Callable[[str, tuple[str, ...], bytes | None], None]
"""Makes one record durable, or deletes it: kind, key, value."""


class ObjectHeader(msgspec.Struct, omit_defaults=True):
    """Of an object; ``views`` are the identifiers of its views."""

    version: str
    updated: float
    kind: str = ""
    api_version: str = ""
    views: list[str] = []


class ViewHeader(msgspec.Struct, omit_defaults=True):
    """Of a view. Its members name it in their headers; ``members`` is their number."""

    namespace: str
    labels: str
    fields: str
    version: str
    complete: bool
    updated: float
    members: int
    kind: str = ""
    api_version: str = ""


class AbsentHeader(msgspec.Struct, omit_defaults=True):
    """Of a 404; ``version`` is the latest known when it came."""

    version: str = "0"


class DeniedHeader(msgspec.Struct, omit_defaults=True):
    """Of a 403; its key has everything."""


class SharedHeader(msgspec.Struct, omit_defaults=True):
    """Of what a collection's objects share, such as a Table's columns; the bytes follow."""


class DocumentHeader(msgspec.Struct, omit_defaults=True):
    """Of a document."""

    content_type: str
    updated: float
    version: str = ""
    accept: str = ""
    etag: str = ""


def pack(header: msgspec.Struct, body: bytes = b"") -> bytes:
    """Header and bytes as one value."""
    return msgspec.json.encode(header) + b"\n" + body


def unpack(kind: type[H], value: bytes) -> tuple[H, bytes]:
    """The header and the bytes of a value. Raises DecodeError."""
    head, _, body = value.partition(b"\n")
    try:
        return msgspec.json.decode(head, type=kind), body
    except JSON_FAULTS as problem:
        raise DecodeError(f"not a stored {kind.__name__}: {problem}") from problem
