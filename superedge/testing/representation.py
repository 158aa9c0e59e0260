"""Encodes responses as objects, Tables or PartialObjectMetadata, depending on Accept. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from superedge.kube.objects import INITIAL_EVENTS_END
from superedge.testing import tables
from superedge.testing.resources import Resource
from superedge.testing.status import not_acceptable
from superedge.testing.storage import Object, Stored

Form = Literal["object", "table", "partial"]
_encode = msgspec.json.encode


def accepted(header: str) -> list[tuple[str, dict[str, str]]]:
    """The media types of an Accept header in its order, with their parameters."""
    found = []
    for part in header.split(","):
        kind, *parameters = [text.strip() for text in part.split(";")]
        if kind:
            found.append((kind, dict(text.split("=", 1) for text in parameters if "=" in text)))
    return found or [("*/*", {})]


def negotiate(header: str) -> Form:
    """The preferred form. Raises APIError 406 when JSON is not accepted."""
    for kind, parameters in accepted(header):
        if kind not in ("application/json", "*/*", "application/*"):
            continue
        wanted = parameters.get("as", "")
        if wanted and parameters.get("g") == "meta.k8s.io" and parameters.get("v") == "v1":
            if wanted == "Table":
                return "table"
            if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                return "partial"
        elif not wanted:
            return "object"
    raise not_acceptable(["application/json"])


class Representation:
    """Encodes the objects of one resource for one request; ``include`` is a Table's includeObject."""

    def __init__(self, resource: Resource, form: Form, include: str, now: float) -> None:
        self._resource = resource
        self._form = form
        self._include = include or "Metadata"
        self._now = now
        self._headed = False
        head = {"kind": resource.kind, "apiVersion": resource.api_version}
        self._prefix = _encode(head)[:-1] + b","

    def one(self, item: Object) -> bytes:
        """The response with one object."""
        return _encode(self._one(item))

    def _one(self, item: Object) -> Object:
        if self._form == "table" and item.get("kind") != "Status":
            metadata = {"resourceVersion": item["metadata"].get("resourceVersion", "")}
            rows = [tables.row(self._resource, item, self._now, self._include)]
            return tables.table(rows, tables.columns(self._resource), metadata)
        if self._form == "partial" and item.get("kind") != "Status":
            return tables.partial(item)
        return self._versioned(item)

    def _versioned(self, item: Object) -> Object:
        if item.get("apiVersion") == self._resource.api_version or not self._resource.custom:
            return item
        return {**item, "apiVersion": self._resource.api_version}

    def list(self, items: Sequence[Stored], metadata: Object) -> bytes:
        """The response with a list."""
        resource = self._resource
        if self._form == "table":
            rows = [tables.row(resource, item.object, self._now, self._include) for item in items]
            return _encode(tables.table(rows, tables.columns(resource), metadata))
        if self._form == "partial":
            head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
            return _encode(head | {"items": [tables.partial(item.object) for item in items]})
        head = {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata}
        listed = map(self._json if resource.custom else self._item, items)
        return b"".join([_encode(head)[:-1], b',"items":[', b",".join(listed), b"]}"])

    def _item(self, item: Stored) -> bytes:
        """An item of a list of built-in objects, which has no kind of its own."""
        prefix = self._prefix
        if item.json.startswith(prefix):  # always, for objects that were written by a request
            return b"{" + item.json[len(prefix) :]
        return _encode(
            {key: value for key, value in item.object.items() if key not in ("kind", "apiVersion")}
        )

    def _json(self, item: Stored) -> bytes:
        versioned = self._versioned(item.object)
        return item.json if versioned is item.object else _encode(versioned)

    def event(self, kind: str, item: Stored, now: float) -> bytes:
        """One line of a watch."""
        if self._form == "object":
            return b'{"type":"%s","object":%s}\n' % (kind.encode(), self._json(item))
        if self._form == "partial":
            return self.line(kind, tables.partial(item.object))
        rows = [tables.row(self._resource, item.object, now, self._include)]
        return self.line(kind, self._table(rows, str(item.revision)))

    def _table(self, rows: Sequence[Object], version: str, annotations: Object | None = None) -> Object:
        # Only the first table of a watch has the columns.
        definitions = [] if self._headed else tables.columns(self._resource)
        self._headed = True
        metadata: Object = {"resourceVersion": version}
        if annotations:
            metadata["annotations"] = annotations
        return tables.table([*rows], definitions, metadata)

    def bookmark(self, revision: int, initial_events_end: bool) -> bytes:
        """A BOOKMARK line with ``revision``."""
        annotations = {INITIAL_EVENTS_END: "true"} if initial_events_end else None
        metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        resource = self._resource
        item: Object = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if self._form == "partial":
            item = tables.partial(item)
        elif self._form == "table":
            item = self._table([], str(revision), annotations)
        return self.line("BOOKMARK", item)

    def line(self, kind: str, item: Object) -> bytes:
        """An event line with any object, such as a Status."""
        return _encode({"type": kind, "object": item}) + b"\n"
