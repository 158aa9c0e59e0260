"""The JSON codec: it decodes metadata and keeps everything else as bytes. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from sys import intern
from typing import Any

import msgspec

from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.objects import (
    INITIAL_EVENTS_END,
    FieldPath,
    FrameSplitter,
    Item,
    KnownItems,
    Lifecycle,
    ListPage,
    WatchEvent,
    require_name,
)

NESTING = 12_000
"""Levels that a `DeepJSONCodec` passes over; the API server takes no more than 10,000."""


class _Metadata(msgspec.Struct):
    name: str | None = None
    namespace: str | None = None
    resourceVersion: str | None = None


class _Object(msgspec.Struct):
    kind: str | None = None
    apiVersion: str | None = None
    metadata: _Metadata | None = None


class _ListMetadata(msgspec.Struct):
    resourceVersion: str | None = None
    token: str | None = msgspec.field(default=None, name="continue")


class _List(msgspec.Struct):
    kind: str = ""
    apiVersion: str = ""
    metadata: _ListMetadata | None = None
    items: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Annotated(msgspec.Struct):
    annotations: dict[str, str] | None = None


class _Bookmark(msgspec.Struct):
    metadata: _Annotated | None = None


class _Labels(msgspec.Struct):
    labels: dict[str, str] | None = None


class _EndMetadata(msgspec.Struct):
    uid: str | None = None
    deletionTimestamp: str | None = None
    deletionGracePeriodSeconds: int | None = None
    finalizers: list[str] | None = None


class _Ending(msgspec.Struct):
    metadata: _EndMetadata | None = None


class _Described(msgspec.Struct):
    metadata: msgspec.Raw


class _Labelled(msgspec.Struct):
    metadata: _Labels | None = None


class _Status(msgspec.Struct):
    code: int | None = None


_object = msgspec.json.Decoder(_Object)
_list = msgspec.json.Decoder(_List)
_event = msgspec.json.Decoder(_Event)
_bookmark = msgspec.json.Decoder(_Bookmark)
_ending = msgspec.json.Decoder(_Ending)
_described = msgspec.json.Decoder(_Described)
_labelled = msgspec.json.Decoder(_Labelled)
_status = msgspec.json.Decoder(_Status)
_encode = msgspec.json.encode


def decode(kind: type[Any], body: bytes) -> Any:
    """The fields of an object that the struct ``kind`` declares; all for ``dict``. Raises DecodeError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except JSON_FAULTS as problem:
        raise DecodeError(f"not a {kind.__name__.strip('_')} in JSON: {problem}") from problem


def _item(raw: bytes) -> Item:
    head = _object.decode(raw)
    meta = head.metadata or _Metadata()
    return Item(
        intern(meta.namespace or ""),
        meta.name or "",
        meta.resourceVersion or "",
        head.kind or "",
        head.apiVersion or "",
        raw,
    )


def _named_item(raw: bytes) -> Item:
    return require_name(_item(raw))


def partial_metadata(metadata: bytes) -> bytes:
    """The PartialObjectMetadata for an object's encoded metadata."""
    return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":%b}' % metadata


class LineSplitter:
    """Splits a watch in JSON, which has one event a line."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self.pending = 0
        """Bytes of the incomplete line."""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes, without empty ones."""
        end = data.find(b"\n")
        if end < 0:
            if data:
                self._pending.append(data)
                self.pending += len(data)
            return []
        if end and end == len(data) - 1 and not self._pending:
            return [data[:end]]  # fast path: exactly one event
        *lines, rest = data.split(b"\n")
        lines[0] = b"".join([*self._pending, lines[0]])
        self._pending = [rest] if rest else []
        self.pending = len(rest)
        return [line for line in lines if line]

    def framed(self, frame: bytes) -> bytes:
        """With the end of its line."""
        return frame + b"\n"


class JSONCodec:
    """`superedge.kube.objects.Codec` for application/json."""

    shared = b""

    def __init__(self, whole: bool = True) -> None:
        """``whole`` is false for PartialObjectMetadata, which has no other fields."""
        self.whole = whole

    def decode_object(self, body: bytes) -> Item:
        """The object in a GET response. Raises DecodeError."""
        try:
            item = _item(body)
        except JSON_FAULTS as problem:
            raise DecodeError(f"not a Kubernetes object in JSON: {problem}") from problem
        return require_name(item)

    def decode_list(self, body: bytes, known: KnownItems | None = None) -> ListPage:
        """The page in a LIST response. Raises DecodeError."""
        read = (known or KnownItems()).read
        try:
            page = _list.decode(body)
            items = page.items
            if items is msgspec.UNSET or not page.kind.endswith("List"):
                raise DecodeError(f"not a list in JSON: kind {page.kind!r}")
            meta = page.metadata or _ListMetadata()
            assert not isinstance(items, msgspec.UnsetType)
            return ListPage(
                page.kind,
                page.apiVersion,
                meta.resourceVersion or "",
                meta.token or "",
                [read(bytes(raw), _named_item) for raw in items or ()],
            )
        except JSON_FAULTS as problem:
            raise DecodeError(f"not a Kubernetes list in JSON: {problem}") from problem

    def splitter(self) -> FrameSplitter:
        return LineSplitter()

    def decode_event(self, frame: bytes) -> WatchEvent:
        """The event in a line. Raises DecodeError."""
        try:
            event = _event.decode(frame)
            raw = bytes(event.object)
            if event.type == "ERROR":
                nothing = Item("", "", "", "Status", "v1", raw)
                return WatchEvent("ERROR", nothing, code=_status.decode(raw).code or 0)
            item = _item(raw)
            if event.type != "BOOKMARK":
                return WatchEvent(event.type, require_name(item))
            meta = _bookmark.decode(raw).metadata
            annotations = (meta.annotations if meta else None) or {}
            return WatchEvent("BOOKMARK", item, annotations.get(INITIAL_EVENTS_END) == "true")
        except JSON_FAULTS as problem:
            raise DecodeError(f"not a watch event in JSON: {problem}") from problem

    def labels(self, raw: bytes) -> Mapping[str, str]:
        try:
            meta = _labelled.decode(raw).metadata
        except JSON_FAULTS as problem:
            raise DecodeError(f"not a Kubernetes object in JSON: {problem}") from problem
        return (meta.labels if meta else None) or {}

    def field(self, raw: bytes, path: FieldPath) -> str:
        try:
            found = msgspec.json.decode(raw)
        except JSON_FAULTS as problem:
            raise DecodeError(f"not a Kubernetes object in JSON: {problem}") from problem
        for name in path.names:
            found = found.get(name) if isinstance(found, dict) else None
        if path.boolean or isinstance(found, bool):
            return "true" if found else "false"
        return str(found) if isinstance(found, (str, int)) else ""

    def lifecycle(self, raw: bytes) -> Lifecycle:
        """Raises DecodeError."""
        try:
            meta = _ending.decode(raw).metadata or _EndMetadata()
        except JSON_FAULTS as problem:
            raise DecodeError(f"not a Kubernetes object in JSON: {problem}") from problem
        kept = bool(meta.finalizers or meta.deletionGracePeriodSeconds)
        return Lifecycle(meta.uid or "", meta.deletionTimestamp is not None, kept)

    def metadata(self, raw: bytes) -> bytes:
        """Raises DecodeError."""
        try:
            return bytes(_described.decode(raw).metadata)
        except JSON_FAULTS as problem:
            raise DecodeError(f"not a Kubernetes object in JSON: {problem}") from problem

    def derive(self, metadata: bytes, whole: bytes) -> bytes | None:
        return (whole or None) if self.whole else partial_metadata(metadata)

    def as_of(self, raw: bytes, now: float) -> bytes:
        """The object unchanged: it contains no age."""
        return raw

    def encode_object(self, kind: str, api_version: str, raw: bytes) -> bytes:
        """The body of a GET response. Adds kind and apiVersion, which the items of a list lack."""
        if _object.decode(raw).kind:
            return raw
        head = b'{"kind":%b,"apiVersion":%b' % (_encode(kind), _encode(api_version))
        rest = raw.lstrip()[1:].lstrip()
        return head + (b"" if rest.startswith(b"}") else b",") + rest

    def encode_list(self, kind: str, api_version: str, version: str, raws: Iterable[bytes]) -> bytes:
        head = b'{"kind":%b,"apiVersion":%b,"metadata":{"resourceVersion":%b},"items":[' % (
            _encode(kind),
            _encode(api_version),
            _encode(version),
        )
        chunks = list(raws) or [b""]
        # One join: such a body has megabytes.
        chunks[0] = head + chunks[0]
        chunks[-1] += b"]}\n"
        return b",".join(chunks)

    def encode_event(self, type_: str, kind: str, api_version: str, raw: bytes, first: bool = True) -> bytes:
        return b'{"type":%b,"object":%b}\n' % (
            _encode(type_),
            self.encode_object(kind, api_version, raw).rstrip(),
        )

    def encode_bookmark(self, kind: str, api_version: str, version: str, initial_events_end: bool) -> bytes:
        meta: dict[str, object] = {"resourceVersion": version, "creationTimestamp": None}
        if initial_events_end:
            meta["annotations"] = {INITIAL_EVENTS_END: "true"}
        target = {"kind": kind, "apiVersion": api_version, "metadata": meta}
        return _encode({"type": "BOOKMARK", "object": target}) + b"\n"


@contextmanager
def _deep_nesting() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(NESTING)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


class DeepJSONCodec(JSONCodec):
    """Reads lists and events with objects that nest deeper than can be decoded.

    Otherwise one such object, which anybody may store who may write a custom resource, would be in the way
    of all others.
    """

    def decode_list(self, body: bytes, known: KnownItems | None = None) -> ListPage:
        """See `JSONCodec`."""
        with _deep_nesting():
            return super().decode_list(body, known)

    def decode_event(self, frame: bytes) -> WatchEvent:
        """See `JSONCodec`."""
        with _deep_nesting():
            return super().decode_event(frame)
