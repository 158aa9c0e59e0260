"""Answers to list and watch from a view that covers what is asked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from superedge.kube.objects import Item
from superedge.kube.selectors import LabelPredicate, parse_label_selector
from superedge.liteapiserver.cache.collection import Collection, Name, Scope, StoredObject, View

NamePredicate = Callable[[Name], bool]


def parse_name_fields(text: str) -> NamePredicate | None:
    """A predicate for a field selector over metadata.name and metadata.namespace; None for any other."""
    tests: list[tuple[int, bool, str]] = []
    for term in filter(None, text.split(",")):
        equal = "!=" not in term
        key, _, value = term.replace("!=", "=").replace("==", "=").partition("=")
        position = {"metadata.namespace": 0, "metadata.name": 1}.get(key.strip())
        if position is None:
            return None
        tests.append((position, equal, value.strip()))
    return lambda name: all((name[position] == value) is equal for position, equal, value in tests)


class Selection:
    """The members of a complete view that a request selects."""

    def __init__(
        self, collection: Collection, view: View, names: NamePredicate | None, labels: LabelPredicate | None
    ) -> None:
        self.collection = collection
        self.view = view
        self._names = names
        self._labels = labels

    @property
    def number(self) -> int:
        """The view's version."""
        return self.view.number

    def _selects(self, name: Name, raw: bytes) -> bool:
        if self._names is not None and not self._names(name):
            return False
        return self._labels is None or self._labels(self.collection.codec.labels(raw))

    def _members(self) -> Iterator[StoredObject]:
        for name, stored in self.view.members.items():
            if self._selects(name, stored.raw):
                yield stored

    def list_body(self) -> bytes:
        """A list of one page."""
        collection = self.collection
        return collection.codec.encode_list(
            f"{collection.kind}List",
            collection.api_version,
            self.view.version,
            [stored.raw for stored in self._members()],
        )

    def _event(self, type_: str, stored: StoredObject) -> bytes:
        collection = self.collection
        return collection.codec.encode_event(
            type_, stored.kind or collection.kind, stored.api_version or collection.api_version, stored.raw
        )

    def all_events(self) -> list[bytes]:
        """Everything as ADDED."""
        return [self._event("ADDED", stored) for stored in self._members()]

    def events_since(self, version: int) -> list[bytes] | None:
        """What is newer than a version, in order; None when deletions since then may be unknown."""
        if version < self.view.floor:
            return None
        collection = self.collection
        found = [
            (stored.number, self._event("ADDED", stored))
            for stored in self._members()
            if stored.number > version
        ]
        for number, raw in self.view.tombstones:
            if number > version:
                item: Item = collection.codec.decode_object(
                    collection.codec.encode_object(collection.kind, collection.api_version, raw)
                )
                if self._selects((item.namespace, item.name), raw):
                    frame = collection.codec.encode_event(
                        "DELETED", collection.kind, collection.api_version, raw
                    )
                    found.append((number, frame))
        return [frame for _, frame in sorted(found, key=lambda each: each[0])]

    def bookmark(self, end: bool) -> bytes:
        """A bookmark at the view's version."""
        collection = self.collection
        return collection.codec.encode_bookmark(
            collection.kind, collection.api_version, self.view.version, end
        )


def select(collection: Collection, scope: Scope) -> Selection | None:
    """The view of exactly this scope, or a wider one from which it can be told. Raises SelectorError."""
    exact = collection.views.get(scope)
    if exact is not None and exact.complete:
        return Selection(collection, exact, None, None)
    names = parse_name_fields(scope.fields)
    labels = parse_label_selector(scope.labels)
    for namespace in dict.fromkeys((scope.namespace, "")):
        for wider in (
            Scope(namespace, scope.labels, scope.fields),
            Scope(namespace, "", scope.fields),
            Scope(namespace, scope.labels, ""),
            Scope(namespace, "", ""),
        ):
            view = collection.views.get(wider)
            if view is None or not view.complete or (scope.fields != wider.fields and names is None):
                continue
            return Selection(
                collection,
                view,
                _both(scope, names if scope.fields != wider.fields else None),
                labels if scope.labels != wider.labels else None,
            )
    return None


def _both(scope: Scope, names: NamePredicate | None) -> NamePredicate:
    return lambda name: scope.covers(name) and (names is None or names(name))
