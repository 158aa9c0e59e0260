"""The records of a collection in the store. Pure."""

from __future__ import annotations

from superedge.liteapiserver.cache.records import (
    ABSENT,
    OBJECT,
    SHARED,
    VIEW,
    AbsentHeader,
    Commit,
    ObjectHeader,
    SharedHeader,
    ViewHeader,
    pack,
)
from superedge.liteapiserver.cache.scopes import Name
from superedge.liteapiserver.cache.views import StoredObject, View


class CollectionRecords:
    """Commits the records of one collection; their keys begin with ``parts``."""

    def __init__(self, parts: tuple[str, ...], commit: Commit) -> None:
        self._parts = parts
        self._commit = commit

    def put_object(self, name: Name, stored: StoredObject) -> None:
        """Put an object with the identifiers of its views."""
        item = stored.item
        header = ObjectHeader(item.version, stored.updated, item.kind, item.api_version, list(stored.views))
        self._commit(OBJECT, (*self._parts, *name), pack(header, item.raw))

    def drop_object(self, name: Name) -> None:
        """Delete an object."""
        self._commit(OBJECT, (*self._parts, *name), None)

    def put_view(self, view: View, kind: str, api_version: str) -> None:
        """Put a view; ``kind`` and ``api_version`` are those of its objects."""
        header = ViewHeader(
            *view.scope,
            view.version,
            view.complete,
            view.updated,
            len(view.members),
            kind,
            api_version,
        )
        self._commit(VIEW, (*self._parts, view.identifier), pack(header))

    def drop_view(self, view: View) -> None:
        """Delete a view."""
        self._commit(VIEW, (*self._parts, view.identifier), None)

    def put_absent(self, name: Name, version: int) -> None:
        """Put a 404 with the latest version known then."""
        self._commit(ABSENT, (*self._parts, *name), pack(AbsentHeader(str(version))))

    def drop_absent(self, name: Name) -> None:
        """Delete a 404."""
        self._commit(ABSENT, (*self._parts, *name), None)

    def put_shared(self, shared: bytes) -> None:
        """Put what all objects share, such as a Table's columns."""
        self._commit(SHARED, self._parts, pack(SharedHeader(), shared))

    def drop_shared(self) -> None:
        """Delete what all objects share."""
        self._commit(SHARED, self._parts, None)
