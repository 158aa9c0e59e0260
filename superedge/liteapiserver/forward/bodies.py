"""Filters the objects in the body of a get or a list, and leaves everything else as it came. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.media import PROTOBUF
from superedge.kube.protobuf import envelope, split_envelope
from superedge.kube.wire import BYTES, field, walk

Apply = Callable[[bytes], bytes | None]
"""Filters one encoded object; None hides it, the same bytes leave it unchanged."""


# resourceVersion in an object's metadata and in a list's.
_OBJECT_VERSION, _LIST_VERSION = 6, 2


class _Metadata(msgspec.Struct):
    resourceVersion: str | None = None


class _Versioned(msgspec.Struct):
    metadata: _Metadata | None = None


class _List(msgspec.Struct):
    kind: str = ""
    apiVersion: str = ""
    metadata: dict[str, Any] = {}
    items: list[msgspec.Raw] | None = None


_versioned = msgspec.json.Decoder(_Versioned)
_list = msgspec.json.Decoder(_List)


def filter_object(media_type: str, body: bytes, apply: Apply) -> tuple[bytes | None, str]:
    """The body of a get, filtered, or None when the object is hidden; and the object's resourceVersion.

    Raises DecodeError.
    """
    if media_type != PROTOBUF:
        return apply(body), _version(body)
    kind, api_version, raw = split_envelope(body)
    shown = apply(raw)
    encoded = body if shown is raw else None if shown is None else envelope(kind, api_version, shown)
    return encoded, _text(raw, 0, len(raw), _OBJECT_VERSION)


def filter_list(media_type: str, body: bytes, apply: Apply) -> tuple[bytes, str]:
    """The body of a list, filtered, and its resourceVersion. Raises DecodeError."""
    return _protobuf_list(body, apply) if media_type == PROTOBUF else _json_list(body, apply)


def _version(body: bytes) -> str:
    try:
        meta = _versioned.decode(body).metadata
    except JSON_FAULTS as problem:
        raise DecodeError(f"not an object in JSON: {problem}") from problem
    return (meta.resourceVersion if meta is not None else None) or ""


def _text(raw: bytes, start: int, end: int, wanted: int) -> str:
    """A text in the metadata, field 1, of the message between two places."""
    for number, wire, a, b in walk(raw, start, end):
        if number == 1 and wire == BYTES:
            for inner, _, c, d in walk(raw, a, b):
                if inner == wanted:
                    return raw[c:d].decode(errors="replace")
        if number > 1:
            break
    return ""


def _json_list(body: bytes, apply: Apply) -> tuple[bytes, str]:
    try:
        found = _list.decode(body)
    except JSON_FAULTS as problem:
        raise DecodeError(f"not a list in JSON: {problem}") from problem
    items = [bytes(item) for item in found.items or ()]
    version = str(found.metadata.get("resourceVersion", ""))
    shown = [apply(item) for item in items]
    if all(after is before for after, before in zip(shown, items, strict=True)):
        return body, version
    found.items = [msgspec.Raw(item) for item in shown if item is not None]
    return msgspec.json.encode(found), version


def _protobuf_list(body: bytes, apply: Apply) -> tuple[bytes, str]:
    kind, api_version, raw = split_envelope(body)
    version = _text(raw, 0, len(raw), _LIST_VERSION)
    pieces: list[bytes] = []
    kept = last = 0  # the pieces lack what follows ``kept``; the field before ends at ``last``
    for number, wire, start, end in walk(raw):
        if number == 2 and wire == BYTES:
            item = raw[start:end]
            shown = apply(item)
            if shown is not item:
                pieces.append(raw[kept:last])
                if shown is not None:
                    pieces.append(field(2, shown))
                kept = end
        last = end
    if not pieces:
        return body, version
    pieces.append(raw[kept:])
    return envelope(kind, api_version, b"".join(pieces)), version
