"""Media types of the Kubernetes API. Pure.

Sources: RFC 9110 section 12.5.1; Kubernetes API concepts, "Alternate representations of resources".
"""

from __future__ import annotations

from typing import NamedTuple

from superedge.kube.memo import memo

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"


class Representation(NamedTuple):
    """A media type with the parameters that transform an object: ``as``, ``g`` and ``v``.

    A list and its items have the same representation: ``PartialObjectMetadataList`` becomes
    ``PartialObjectMetadata``. ``include`` is a Table's ``includeObject`` parameter: ``Object``, ``None``, or
    empty for metadata.
    """

    media_type: str
    kind: str = ""
    group: str = ""
    version: str = ""
    include: str = ""

    def __str__(self) -> str:
        return f"{self.content_type};includeObject={self.include}" if self.include else self.content_type

    @property
    def content_type(self) -> str:
        """The media type with its parameters, as in an Accept header."""
        if not self.kind:
            return self.media_type
        return f"{self.media_type};as={self.kind};g={self.group};v={self.version}"

    @property
    def stream_type(self) -> str:
        """The Content-Type of a watch, which lacks ``as``, ``g`` and ``v``."""
        return f"{self.media_type};stream=watch" if self.media_type == PROTOBUF else self.media_type


@memo(256)
def parse_media_type(text: str) -> Representation:
    """Parse one media type. Ignores parameters other than ``as``, ``g``, ``v`` and ``includeObject``."""
    media_type, _, rest = text.partition(";")
    parameters = {}
    for part in rest.split(";"):
        key, _, value = part.partition("=")
        parameters[key.strip().lower()] = value.strip().strip('"')
    kind = parameters.get("as", "").removesuffix("List")
    name = media_type.strip().lower()
    if not kind:
        return Representation(name)
    return Representation(
        name,
        kind,
        parameters.get("g", ""),
        parameters.get("v", ""),
        parameters.get("includeobject", "") if kind == "Table" else "",
    )


@memo(256)
def accepted(accept: str) -> tuple[Representation, ...]:
    """The representations in an Accept header by preference. Wildcards and an empty header mean JSON."""
    clauses: list[tuple[float, int, Representation]] = []
    for number, clause in enumerate(dict.fromkeys(accept.split(","))):
        found = parse_media_type(clause)
        if found.media_type in ("", "*/*", "application/*"):
            found = Representation(JSON, found.kind, found.group, found.version)
        clauses.append((-_quality(clause), number, found))
    ordered = [found for quality, _, found in sorted(clauses, key=lambda item: item[:2]) if quality < 0]
    return tuple(dict.fromkeys(ordered))


def _quality(clause: str) -> float:
    for part in clause.split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0


@memo(256)
def without_cbor(accept: bytes) -> bytes:
    """The Accept header without CBOR, which the cache cannot decode."""
    if b"cbor" not in accept.lower():
        return accept
    kept = [clause for clause in accept.split(b",") if b"cbor" not in clause.lower()]
    return b",".join(kept).strip() or b"application/json"
