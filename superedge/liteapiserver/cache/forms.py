"""In which form an answer came. Pure.

The API server labels a Table or PartialObjectMetadata as plain ``application/json``: what was asked for and
the body's own kind tell.
"""

from __future__ import annotations

from functools import lru_cache

from superedge.kube.codecs import kind_of
from superedge.kube.media import Representation, accepted, parse_media_type


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
    kind, _ = kind_of(body)
    plain = Representation(expected.media_type)
    return expected if kind.removesuffix("List") == expected.kind else plain
