"""The codec of Tables in JSON: an item is a row, the columns are shared. Pure.

Only the first event of a watch has the columns. A bookmark is a Table of one row with metadata only. Sources:
Kubernetes API concepts, "Receiving resources as Tables"; apimachinery pkg/apis/meta/v1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from sys import intern

import msgspec

from superedge.kube.age import INVALID, UNKNOWN, age
from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.json import JSONCodec, LineSplitter, partial_metadata
from superedge.kube.media import Representation
from superedge.kube.objects import (
    INITIAL_EVENTS_END,
    FieldPath,
    FrameSplitter,
    Item,
    KnownItems,
    Lifecycle,
    ListPage,
    WatchEvent,
)


class _Metadata(msgspec.Struct):
    name: str | None = None
    namespace: str | None = None
    resourceVersion: str | None = None
    annotations: dict[str, str] | None = None


class _RowObject(msgspec.Struct):
    metadata: _Metadata | None = None


class _Row(msgspec.Struct):
    object: _RowObject | None = None


class _Column(msgspec.Struct):
    name: str = ""
    format: str = ""
    description: str = ""

    @property
    def is_name(self) -> bool:
        return self.format == "name"

    @property
    def is_age(self) -> bool:
        """Whether the column is the object's age."""
        path = self.description.partition(_BY_PATH)[2]
        return self.name == "Age" and path in ("", _CREATED)


class _CreatedMetadata(msgspec.Struct):
    creationTimestamp: str | None = None


class _Created(msgspec.Struct):
    metadata: _CreatedMetadata | None = None


class _Cells(msgspec.Struct):
    cells: list[msgspec.Raw]
    object: msgspec.Raw
    conditions: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Whole(msgspec.Struct):
    object: msgspec.Raw


class _ListMetadata(msgspec.Struct):
    resourceVersion: str | None = None
    token: str | None = msgspec.field(default=None, name="continue")


class _Table(msgspec.Struct):
    kind: str = ""
    metadata: _ListMetadata | None = None
    columnDefinitions: msgspec.Raw = msgspec.Raw(b"null")
    rows: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_table = msgspec.json.Decoder(_Table)
_row = msgspec.json.Decoder(_Row)
_cells = msgspec.json.Decoder(_Cells)
_created = msgspec.json.Decoder(_Created)
_columns = msgspec.json.Decoder(list[_Column])
_whole = msgspec.json.Decoder(_Whole)
_event = msgspec.json.Decoder(_Event)
_encode = msgspec.json.encode
_plain = JSONCodec()
_CREATED = ".metadata.creationTimestamp"
_BY_PATH = "Custom resource definition column (in JSONPath format): "
"""The beginning of the description of a CustomResourceDefinition's column that has none of its own."""
_NO_COLUMNS = frozenset({b"null", b"[]"})


def _metadata(raw: bytes) -> _Metadata:
    target = _row.decode(raw).object
    return (target.metadata if target else None) or _Metadata()


def _item(raw: bytes) -> Item:
    meta = _metadata(raw)
    if not meta.name:
        raise DecodeError("a row has no object name")
    return Item(intern(meta.namespace or ""), meta.name, meta.resourceVersion or "", "", "", raw)


class TableCodec:
    """`superedge.kube.objects.Codec` for the Tables of one resource; keeps the columns it saw last."""

    def __init__(self, representation: Representation) -> None:
        """``representation`` is that of the Tables; encoded Tables have its group and version."""
        self._api_version = f"{representation.group}/{representation.version}"
        self.shared = b""
        self._aged, self._age_at = b"", -1
        self.whole = representation.include == "Object"

    def _read(self, body: bytes) -> _Table:
        table = _table.decode(body)
        if table.kind != "Table":
            raise DecodeError(f"not a Table: kind {table.kind!r}")
        columns = bytes(table.columnDefinitions)
        if columns not in _NO_COLUMNS:
            self.shared = columns
        return table

    def decode_object(self, body: bytes) -> Item:
        """The row in a GET response. Raises DecodeError."""
        try:
            rows = self._read(body).rows or []
            if len(rows) != 1:
                raise DecodeError(f"the Table of one object has {len(rows)} rows")
            return _item(bytes(rows[0]))
        except JSON_FAULTS as problem:
            raise DecodeError(f"not a Table in JSON: {problem}") from problem

    def decode_list(self, body: bytes, known: KnownItems | None = None) -> ListPage:
        read = (known or KnownItems()).read
        try:
            table = self._read(body)
            meta = table.metadata or _ListMetadata()
            items = [read(bytes(raw), _item) for raw in table.rows or ()]
            return ListPage("Table", self._api_version, meta.resourceVersion or "", meta.token or "", items)
        except JSON_FAULTS as problem:
            raise DecodeError(f"not a Table in JSON: {problem}") from problem

    def splitter(self) -> FrameSplitter:
        return LineSplitter()

    def decode_event(self, frame: bytes) -> WatchEvent:
        try:
            event = _event.decode(frame)
            if event.type == "ERROR":
                return _plain.decode_event(frame)
            table = self._read(bytes(event.object))
            rows = table.rows or []
            if event.type == "BOOKMARK":
                meta = _metadata(bytes(rows[0])) if rows else _Metadata()
                version = (table.metadata.resourceVersion if table.metadata else "") or meta.resourceVersion
                ended = (meta.annotations or {}).get(INITIAL_EVENTS_END) == "true"
                return WatchEvent("BOOKMARK", Item("", "", version or "", "", "", b""), ended)
            if len(rows) != 1:
                raise DecodeError(f"the Table of an event has {len(rows)} rows")
            return WatchEvent(event.type, _item(bytes(rows[0])))
        except JSON_FAULTS as problem:
            raise DecodeError(f"not a watch event in JSON: {problem}") from problem

    def labels(self, raw: bytes) -> Mapping[str, str]:
        return _plain.labels(self._object_of(raw))

    def field(self, raw: bytes, path: FieldPath) -> str:
        return _plain.field(self._object_of(raw), path)

    def lifecycle(self, raw: bytes) -> Lifecycle:
        return _plain.lifecycle(self._object_of(raw))

    def metadata(self, raw: bytes) -> bytes:
        return _plain.metadata(self._object_of(raw))

    def derive(self, metadata: bytes, whole: bytes) -> bytes | None:
        """A row with the object's name, whose other cells are UNKNOWN. Raises DecodeError."""
        target = whole if self.whole else partial_metadata(metadata)
        try:
            columns = _columns.decode(self.shared or b"[]")
        except JSON_FAULTS as problem:
            raise DecodeError(f"not a Table in JSON: {problem}") from problem
        if not columns or not target:
            return None
        name = _metadata(b'{"object":%b}' % target).name
        cells = [name if column.is_name else UNKNOWN for column in columns]
        return b'{"cells":%b,"object":%b}' % (_encode(cells), target)

    def as_of(self, raw: bytes, now: float) -> bytes:
        """The row with its object's age at Unix time ``now``; unchanged when it has no creation time."""
        at = self._age_column()
        if at < 0:
            return raw
        try:
            row = _cells.decode(raw)
            meta = _created.decode(row.object).metadata
        except JSON_FAULTS:
            return raw
        if meta is None or not meta.creationTimestamp or at >= len(row.cells):
            return raw
        counted = age(meta.creationTimestamp, now)
        if counted in (INVALID, UNKNOWN):
            return raw  # this machine's clock may be wrong: keep the API server's value
        row.cells[at] = msgspec.Raw(_encode(counted))
        return _encode(row)

    def _age_column(self) -> int:
        """The index of the age column; -1 when there is none."""
        if self._aged is not self.shared:
            self._aged, self._age_at = self.shared, -1
            with contextlib.suppress(*JSON_FAULTS):
                found = [column.is_age for column in _columns.decode(self.shared or b"[]")]
                self._age_at = found.index(True) if True in found else -1
        return self._age_at

    def _object_of(self, raw: bytes) -> bytes:
        try:
            return bytes(_whole.decode(raw).object)
        except JSON_FAULTS as problem:
            raise DecodeError(f"not a Table's row in JSON: {problem}") from problem

    def _encode_table(self, version: str, raws: Iterable[bytes], columns: bytes) -> bytes:
        return b'{"kind":"Table","apiVersion":%b,"metadata":{"resourceVersion":%b},' % (
            _encode(self._api_version),
            _encode(version),
        ) + b'"columnDefinitions":%b,"rows":[%b]}' % (columns or b"[]", b",".join(raws))

    def encode_object(self, kind: str, api_version: str, raw: bytes) -> bytes:
        """A Table of one row."""
        return self._encode_table(_item(raw).version, [raw], self.shared) + b"\n"

    def encode_list(self, kind: str, api_version: str, version: str, raws: Iterable[bytes]) -> bytes:
        return self._encode_table(version, raws, self.shared) + b"\n"

    def encode_event(self, type_: str, kind: str, api_version: str, raw: bytes, first: bool = True) -> bytes:
        table = self._encode_table(_item(raw).version, [raw], self.shared if first else b"")
        return b'{"type":%b,"object":%b}\n' % (_encode(type_), table)

    def encode_bookmark(self, kind: str, api_version: str, version: str, initial_events_end: bool) -> bytes:
        meta: dict[str, object] = {"resourceVersion": version, "creationTimestamp": None}
        if initial_events_end:
            meta["annotations"] = {INITIAL_EVENTS_END: "true"}
        target = {"kind": "PartialObjectMetadata", "apiVersion": self._api_version, "metadata": meta}
        table = self._encode_table(version, [_encode({"cells": [], "object": target})], b"")
        return b'{"type":"BOOKMARK","object":%b}\n' % table
