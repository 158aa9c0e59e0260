"""Converts an object's metadata from protobuf to JSON. Pure.

Source: apimachinery pkg/apis/meta/v1 generated.proto, ObjectMeta. The result lacks managedFields.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from superedge.kube.errors import DecodeError
from superedge.kube.wire import BYTES, read_varint, walk

_TEXTS = {1: "name", 2: "generateName", 3: "namespace", 5: "uid", 6: "resourceVersion"}
_NUMBERS = {7: "generation", 10: "deletionGracePeriodSeconds"}
_TIMES = {8: "creationTimestamp", 9: "deletionTimestamp"}
_MAPS = {11: "labels", 12: "annotations"}
_OWNERS, _FINALIZERS = 13, 14
_OWNER_TEXTS = {1: "kind", 3: "name", 4: "uid", 5: "apiVersion"}
_OWNER_FLAGS = {6: "controller", 7: "blockOwnerDeletion"}


def metadata_json(raw: bytes) -> bytes:
    """The metadata of an object; ``raw`` is the inner message of its envelope. Raises DecodeError."""
    try:
        for number, wire, start, end in walk(raw):
            if number == 1 and wire == BYTES:
                return msgspec.json.encode(_metadata(raw, start, end))
    except (UnicodeDecodeError, ValueError, OverflowError) as problem:
        raise DecodeError(f"not an object in protobuf: {problem}") from problem
    raise DecodeError("an object has no metadata")


def _metadata(raw: bytes, start: int, end: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, wire, a, b in walk(raw, start, end):
        if number in _NUMBERS:
            if count := read_varint(raw, a)[0]:
                found[_NUMBERS[number]] = count
        elif wire != BYTES:
            continue
        elif number in _TEXTS:
            if a < b:
                found[_TEXTS[number]] = raw[a:b].decode()
        elif number in _TIMES:
            if (moment := _time(raw, a, b)) is not None:
                found[_TIMES[number]] = moment
        elif number in _MAPS:
            key, value = _texts(raw, a, b, {1: "key", 2: "value"}).values()
            found.setdefault(_MAPS[number], {})[key] = value
        elif number == _OWNERS:
            found.setdefault("ownerReferences", []).append(_owner(raw, a, b))
        elif number == _FINALIZERS:
            found.setdefault("finalizers", []).append(raw[a:b].decode())
    return found


def _texts(raw: bytes, start: int, end: int, names: dict[int, str]) -> dict[str, str]:
    found = dict.fromkeys(names.values(), "")
    for number, wire, a, b in walk(raw, start, end):
        if wire == BYTES and number in names:
            found[names[number]] = raw[a:b].decode()
    return found


def _time(raw: bytes, start: int, end: int) -> str | None:
    """An RFC 3339 timestamp; None for an empty Time message."""
    for number, _, a, _b in walk(raw, start, end):
        if number == 1:
            return datetime.fromtimestamp(read_varint(raw, a)[0], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return None


def _owner(raw: bytes, start: int, end: int) -> dict[str, Any]:
    owner: dict[str, Any] = dict(_texts(raw, start, end, _OWNER_TEXTS))
    for number, _, a, _b in walk(raw, start, end):
        if number in _OWNER_FLAGS:
            owner[_OWNER_FLAGS[number]] = bool(read_varint(raw, a)[0])
    return owner
