"""Answers list and watch from a complete view that covers the requested scope. Pure."""

from __future__ import annotations

from superedge.kube.fields import FieldSelector, parse_field_selector
from superedge.kube.objects import Item
from superedge.kube.selectors import LabelPredicate, parse_label_selector
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.scopes import Name, Scope
from superedge.liteapiserver.cache.views import StoredObject, View


def _etcd_key(member: tuple[Name, StoredObject]) -> str:
    (namespace, name), _ = member
    return f"{namespace}/{name}"


class Selection:
    """The members of a complete view that a request selects."""

    def __init__(
        self,
        collection: Collection,
        view: View,
        scope: Scope,
        fields: FieldSelector | None,
        labels: LabelPredicate | None,
        now: float,
    ) -> None:
        """``fields`` and ``labels`` are the selectors that the view lacks; ``now`` is Unix time."""
        self.collection = collection
        self._now = now
        self.view = view
        self._scope = scope
        self._fields = fields
        self._labels = labels

    @property
    def number(self) -> int:
        """The view's version."""
        return self.view.number

    def _name_matches(self, name: Name) -> bool:
        """Whether the scope may select an object of this name, at any time."""
        return self._scope.covers(name) and (self._fields is None or self._fields.selects_name(*name))

    def _selects(self, raw: bytes) -> bool:
        """Whether the selectors match an object."""
        codec = self.collection.codec
        if self._fields is not None and not self._fields.selects(codec, raw):
            return False
        return self._labels is None or self._labels(codec.labels(raw))

    def _members(self) -> list[StoredObject]:
        """The selected objects in the API server's order: by their keys in etcd."""
        members = sorted(self.view.members.items(), key=_etcd_key)
        if self._scope == self.view.scope:
            return [stored for _, stored in members]
        return [
            stored for name, stored in members if self._name_matches(name) and self._selects(stored.item.raw)
        ]

    def items(self) -> dict[Name, Item]:
        """The selected objects with their kind, by name."""
        kind, api_version = self.collection.kind, self.collection.api_version
        found = {}
        for stored in self._members():
            item = stored.item
            found[item.namespace, item.name] = (
                item if item.kind else item._replace(kind=kind, api_version=api_version)
            )
        return found

    def shows_the_same(self, other: Selection) -> bool:
        """Whether two selections have the same objects at the same versions."""
        ours, theirs = ([stored.number for stored in each._members()] for each in (self, other))
        return ours == theirs

    def list_body(self) -> bytes:
        """A list of one page."""
        collection = self.collection
        return collection.codec.encode_list(
            f"{collection.kind}List",
            collection.api_version,
            self.view.version,
            [collection.codec.as_of(stored.item.raw, self._now) for stored in self._members()],
        )

    def _event(self, type_: str, raw: bytes, first: bool) -> bytes:
        collection = self.collection
        raw = collection.codec.as_of(raw, self._now)
        return collection.codec.encode_event(type_, collection.kind, collection.api_version, raw, first)

    def all_events(self) -> list[bytes]:
        """Everything as ADDED."""
        return [
            self._event("ADDED", stored.item.raw, number == 0)
            for number, stored in enumerate(self._members())
        ]

    def events_since(self, version: int) -> list[bytes] | None:
        """The events after a version, in order; None when deletions since then may be unknown.

        An object that changed since and is not selected now becomes DELETED, as it may have been selected
        before.
        """
        if version < self.view.floor:
            return None
        found: list[tuple[int, str, bytes]] = []
        for name, stored in self.view.members.items():
            if stored.number > version and self._name_matches(name):
                type_ = "ADDED" if self._selects(stored.item.raw) else "DELETED"
                found.append((stored.number, type_, stored.item.raw))
        for number, name, raw in self.view.tombstones:
            if number > version and self._name_matches(name):
                found.append((number, "DELETED", raw))
        found.sort(key=lambda each: each[0])
        return [self._event(type_, raw, at == 0) for at, (_, type_, raw) in enumerate(found)]

    def bookmark(self, version: str, end: bool = False) -> bytes:
        """A bookmark; ``end`` for the one after the initial events."""
        collection = self.collection
        return collection.codec.encode_bookmark(collection.kind, collection.api_version, version, end)


def select(collection: Collection, scope: Scope, now: float) -> Selection | None:
    """The newest view of this scope, or of a wider one that can be narrowed to it; ``now`` is Unix time.

    Raises SelectorError.
    """
    labels = parse_label_selector(scope.labels)
    fields = parse_field_selector(scope.fields, collection.key.group, collection.key.resource)
    fields_decidable = fields is not None and (fields.names_only or collection.codec.whole)
    best: Selection | None = None
    for namespace in dict.fromkeys((scope.namespace, "")):
        for wider_labels in dict.fromkeys((scope.labels, "")):
            for wider_fields in dict.fromkeys((scope.fields, "")):
                view = collection.views.get(Scope(namespace, wider_labels, wider_fields))
                if view is None or not view.complete or (best is not None and view.number <= best.number):
                    continue
                if wider_fields != scope.fields and not fields_decidable:
                    continue
                best = Selection(
                    collection,
                    view,
                    scope,
                    fields if wider_fields != scope.fields else None,
                    labels if wider_labels != scope.labels else None,
                    now,
                )
    return best
