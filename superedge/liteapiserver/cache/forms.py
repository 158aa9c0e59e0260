"""In which form an answer came. Pure.

The API server labels a Table or PartialObjectMetadata as plain ``application/json``: what was asked for and
the body's own kind tell.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from superedge.kube.errors import DecodeError
from superedge.kube.media import PROTOBUF, Representation, accepted, parse_media_type
from superedge.kube.protobuf import split_envelope


class _Kind(msgspec.Struct):
    kind: str = ""


_kind = msgspec.json.Decoder(_Kind)


@lru_cache(maxsize=256)
def expected_form(accept: str, content_type: str) -> Representation:
    """The form by what was asked for; a watch comes in it, other answers may come plain."""
    labelled = parse_media_type(content_type)
    if labelled.kind:
        return labelled
    for wanted in accepted(accept):
        if wanted.media_type == labelled.media_type:
            return wanted
    return labelled


def actual_form(expected: Representation, body: bytes) -> Representation:
    """The form of a body. Raises DecodeError."""
    if not expected.kind:
        return expected
    try:
        if expected.media_type == PROTOBUF:
            kind = split_envelope(body)[0]
        else:
            kind = _kind.decode(body).kind
    except msgspec.MsgspecError as problem:
        raise DecodeError(f"not JSON: {problem}") from problem
    plain = Representation(expected.media_type)
    return expected if kind.removesuffix("List") == expected.kind else plain
