"""Decodes the few kinds that kubectl's commands send in protobuf. Pure.

It refuses bodies with kinds or fields that are not listed here, which results in 415.
Sources: Kubernetes API concepts, "Kubernetes Protobuf encoding"; the generated.proto of each group.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from superedge.errors import SuperEdgeError
from superedge.kube.errors import DecodeError
from superedge.kube.protobuf import MAGIC
from superedge.kube.wire import BYTES, VARINT, read_varint, walk


class ProtobufError(SuperEdgeError):
    """The body is invalid, or has a kind or field that is not supported."""


class _Field(NamedTuple):
    """``decode`` converts the encoded value; ``form`` is how the values of a repeated field are combined."""

    name: str
    decode: Callable[[Any], Any]
    form: str = "one"


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    try:
        for number, wire, start, end in walk(data):
            if wire == VARINT:
                yield number, read_varint(data, start)[0]
            elif wire == BYTES:
                yield number, data[start:end]
            else:
                raise ProtobufError(f"a field has wire type {wire}, which no known kind uses")
    except DecodeError as problem:
        raise ProtobufError(str(problem)) from problem


def _text(value: bytes) -> str:
    return value.decode()


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _message(fields: dict[int, _Field]) -> Callable[[bytes], dict[str, Any]]:
    def decode(data: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for number, raw in _fields(data):
            field = fields.get(number)
            if field is None:
                if raw:  # an empty value is the default
                    raise ProtobufError(f"field {number} is not known here")
                continue
            value = field.decode(raw)
            if field.form == "map":
                found.setdefault(field.name, {})[value.get("key", "")] = value.get("value", "")
            elif field.form == "list":
                found.setdefault(field.name, []).append(value)
            elif value:
                found[field.name] = value
        return found

    return decode


def _map(name: str, decode: Callable[[bytes], str] = _text) -> _Field:
    return _Field(name, _message({1: _Field("key", _text), 2: _Field("value", decode)}), "map")


_METADATA = _Field(
    "metadata",
    _message(
        {
            1: _Field("name", _text),
            2: _Field("generateName", _text),
            3: _Field("namespace", _text),
            5: _Field("uid", _text),
            6: _Field("resourceVersion", _text),
            11: _map("labels"),
            12: _map("annotations"),
            14: _Field("finalizers", _text, "list"),
        }
    ),
)
_TIME = _message({1: _Field("seconds", int), 2: _Field("nanos", int)})
_ATTRIBUTES = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
_REVIEWED = {
    1: _Field(
        "resourceAttributes",
        _message({number: _Field(name, _text) for number, name in enumerate(_ATTRIBUTES, 1)}),
    ),
    2: _Field("nonResourceAttributes", _message({1: _Field("path", _text), 2: _Field("verb", _text)})),
}
_KINDS: dict[tuple[str, str], dict[int, _Field]] = {
    ("v1", "ConfigMap"): {
        1: _METADATA,
        2: _map("data"),
        3: _map("binaryData", _base64),
        4: _Field("immutable", bool),
    },
    ("v1", "DeleteOptions"): {
        1: _Field("gracePeriodSeconds", int),
        2: _Field("preconditions", _message({1: _Field("uid", _text), 2: _Field("resourceVersion", _text)})),
        4: _Field("propagationPolicy", _text),
        5: _Field("dryRun", _text, "list"),
    },
    ("v1", "Namespace"): {1: _METADATA, 3: _Field("status", _message({1: _Field("phase", _text)}))},
    ("v1", "Secret"): {
        1: _METADATA,
        2: _map("data", _base64),
        3: _Field("type", _text),
        4: _map("stringData"),
        5: _Field("immutable", bool),
    },
    ("v1", "ServiceAccount"): {1: _METADATA, 4: _Field("automountServiceAccountToken", bool)},
    ("authentication.k8s.io/v1", "SelfSubjectReview"): {
        1: _METADATA,
        2: _Field("status", _message({1: _Field("userInfo", _message({1: _Field("username", _text)}))})),
    },
    ("authentication.k8s.io/v1", "TokenRequest"): {
        1: _METADATA,
        2: _Field(
            "spec", _message({1: _Field("audiences", _text, "list"), 4: _Field("expirationSeconds", int)})
        ),
        3: _Field("status", _message({1: _Field("token", _text), 2: _Field("expirationTimestamp", _TIME)})),
    },
    ("authorization.k8s.io/v1", "SelfSubjectAccessReview"): {
        1: _METADATA,
        2: _Field("spec", _message(_REVIEWED)),
        3: _Field("status", _message({1: _Field("allowed", bool)})),
    },
}
_TYPE = _message({1: _Field("apiVersion", _text), 2: _Field("kind", _text)})
_UNKNOWN = _message({1: _Field("type", _TYPE), 2: _Field("raw", bytes)})


def decode(body: bytes) -> dict[str, Any]:
    """The object in a body. Raises ProtobufError."""
    if not body.startswith(MAGIC):
        raise ProtobufError("the body does not begin as Kubernetes' protobuf does")
    try:
        envelope = _UNKNOWN(body[len(MAGIC) :])
        kind = envelope.get("type", {})
        name = (kind.get("apiVersion", ""), kind.get("kind", ""))
        fields = _KINDS.get(name)
        if fields is None:
            known = ", ".join(sorted(kind for _, kind in _KINDS))
            raise ProtobufError(f"{name[1]} is not among the kinds that are decoded: {known}")
        raw = envelope.get("raw", b"")
        return {"kind": name[1], "apiVersion": name[0], **_message(fields)(raw)}
    except (TypeError, AttributeError, UnicodeDecodeError) as problem:
        raise ProtobufError("a field has a value of another type") from problem
