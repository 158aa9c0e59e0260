"""The representation of a response, and those that a client accepts. Pure.

The API server labels a Table or PartialObjectMetadata as plain ``application/json``. Therefore the
representation follows from the request's Accept and the kind in the body.
"""

from __future__ import annotations

from superedge.kube.codecs import kind_of
from superedge.kube.media import Representation, accepted, parse_media_type
from superedge.kube.memo import memo
from superedge.kube.request import RequestInfo


def accepted_representations(request: RequestInfo) -> tuple[Representation, ...]:
    """The representations that a client accepts, in its order of preference."""
    return _wanted(request.accept, request.query.get("includeObject", ""))


@memo(256)
def _wanted(accept: str, include: str) -> tuple[Representation, ...]:
    include = "" if include == "Metadata" else include
    return tuple(each._replace(include=include if each.kind == "Table" else "") for each in accepted(accept))


def expected_representation(request: RequestInfo, content_type: str) -> Representation:
    """The requested representation. A watch always has it; another response may be plain."""
    return _expected(request.accept, request.query.get("includeObject", ""), content_type)


@memo(256)
def _expected(accept: str, include: str, content_type: str) -> Representation:
    labelled = parse_media_type(content_type)
    wanted = _wanted(accept, include)
    if labelled.kind:
        return next((each for each in wanted if each.content_type == labelled.content_type), labelled)
    return next((each for each in wanted if each.media_type == labelled.media_type), labelled)


def actual_representation(expected: Representation, body: bytes) -> Representation:
    """The representation of a body. Raises DecodeError."""
    if not expected.kind:
        return expected
    kind, _ = kind_of(body)
    plain = Representation(expected.media_type)
    return expected if kind.removesuffix("List") == expected.kind else plain
