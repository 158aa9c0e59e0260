"""Which codec reads which representation. Pure."""

from __future__ import annotations

from superedge.kube.json import JSONCodec
from superedge.kube.media import JSON, PROTOBUF, Representation
from superedge.kube.objects import Codec
from superedge.kube.protobuf import ProtobufCodec

_CODECS: dict[str, Codec] = {JSON: JSONCodec(), PROTOBUF: ProtobufCodec()}
_WITH_METADATA = frozenset({"", "PartialObjectMetadata"})


def codec_for(representation: Representation) -> Codec | None:
    """The codec of a form whose items have metadata of their own; None for others, a Table for one."""
    if representation.kind not in _WITH_METADATA:
        return None
    return _CODECS.get(representation.media_type)
