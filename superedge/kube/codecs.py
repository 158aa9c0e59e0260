"""Chooses the codec of a representation, and finds the kind of a body. Pure."""

from __future__ import annotations

import msgspec

from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.json import JSONCodec
from superedge.kube.media import JSON, PROTOBUF, Representation
from superedge.kube.objects import Codec
from superedge.kube.protobuf import MAGIC, ProtobufCodec, split_envelope
from superedge.kube.table import TableCodec

_CODECS: dict[tuple[str, str], Codec] = {
    (JSON, ""): JSONCodec(),
    (PROTOBUF, ""): ProtobufCodec(),
    (JSON, "PartialObjectMetadata"): JSONCodec(whole=False),
    (PROTOBUF, "PartialObjectMetadata"): ProtobufCodec(whole=False),
}


class _Kind(msgspec.Struct):
    kind: str = ""
    apiVersion: str = ""


_kind = msgspec.json.Decoder(_Kind)


def codec_for(representation: Representation) -> Codec | None:
    """The codec of a representation whose items have metadata, else None. Each Table gets a new one."""
    if representation.kind == "Table":
        known = representation.media_type == JSON and representation.include != "None"
        return TableCodec(representation) if known else None
    return _CODECS.get((representation.media_type, representation.kind))


def kind_of(body: bytes) -> tuple[str, str]:
    """The kind and apiVersion of a body in JSON or protobuf. Raises DecodeError."""
    try:
        if body.startswith(MAGIC):
            return split_envelope(body)[:2]
        found = _kind.decode(body)
    except JSON_FAULTS as problem:
        raise DecodeError(f"neither JSON nor protobuf: {problem}") from problem
    return found.kind, found.apiVersion
