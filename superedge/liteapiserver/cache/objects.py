"""The objects, 404s and views of one collection, consistent with each other and the store. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from sys import intern
from typing import NamedTuple

from superedge.kube.age import UNKNOWN
from superedge.kube.media import Representation
from superedge.kube.objects import Codec, Item, version_number
from superedge.liteapiserver.cache.durable import CollectionRecords
from superedge.liteapiserver.cache.records import Commit, ObjectHeader, ViewHeader
from superedge.liteapiserver.cache.scopes import Name, Scope
from superedge.liteapiserver.cache.views import StoredObject, View

_UNKNOWN = UNKNOWN.encode()
MAX_ABSENT = 1000
"""404s that a collection keeps; the oldest are dropped."""


def _length(parts: tuple[str, ...]) -> int:
    return sum(map(len, parts))


class CollectionKey(NamedTuple):
    """Identity, group, version, resource and representation."""

    identity: str
    group: str
    version: str
    resource: str
    representation: Representation

    @property
    def parts(self) -> tuple[str, ...]:
        """The first parts of its records' keys."""
        return (self.identity, self.group, self.version, self.resource, str(self.representation))


class Objects:
    """The base of `Collection`: primitives that change objects, 404s and views together.

    All views that an object is a member of share it.
    """

    def __init__(self, key: CollectionKey, codec: Codec, commit: Commit, clock: Callable[[], float]) -> None:
        """``clock`` gives Unix time."""
        self.key = key
        self.codec = codec
        self._records = CollectionRecords(key.parts, commit)
        self._clock = clock
        self.kind = ""
        self.api_version = ""
        self.objects: dict[Name, StoredObject] = {}
        self.absent: dict[Name, int] = {}
        """Objects that do not exist according to a 404 or a deletion, and the version known then."""
        self.views: dict[Scope, View] = {}
        self._by_identifier: dict[str, View] = {}
        self._shared = codec.shared
        # While loading: how many members each view had.
        self._members: dict[str, int] = {}
        self.newest = 0
        """The latest version seen."""
        self.size = 0
        """Bytes of all objects, names and scopes."""
        self.retired = False
        """Whether it is no longer in use, see `retire`."""

    @property
    def records(self) -> int:
        """How many objects, views and 404s there are."""
        return len(self.objects) + len(self.views) + len(self.absent)

    def view(self, scope: Scope) -> View:
        """The view of a scope; a new one is partial."""
        view = self.views.get(scope)
        if view is None:
            view = self.views[scope] = View(scope, self._clock())
            self.size += _length(scope)
            self._by_identifier[view.identifier] = view
        return view

    def newest_for(self, scope: Scope) -> int:
        """The latest version known of the objects in a scope."""
        view = self.views.get(scope)
        return max(self.newest, view.number if view is not None else 0)

    def last_seen(self, stored: StoredObject) -> int:
        """The latest version at which an object is known to have existed."""
        complete = (view.number for view in self._views_of(stored) if view.complete)
        return max(stored.number, *complete, 0)

    def _views_of(self, stored: StoredObject) -> Iterator[View]:
        return (self._by_identifier[identifier] for identifier in stored.views)

    def put(self, item: Item, view: View | None = None) -> None:
        """Store an object; one from a watch becomes a member of ``view``."""
        name = (item.namespace, item.name)
        if self._put(name, item, view):
            self._records.put_object(name, self.objects[name])

    def _put(self, name: Name, item: Item, view: View | None) -> bool:
        """Store an object in memory; whether its record has to be written."""
        number = version_number(item.version)
        stored = self.objects.get(name)
        changed = False
        if 0 < number <= self.absent.get(name, 0):
            return False  # a version from before the deletion
        if item.kind and not self.kind:
            self.kind, self.api_version = item.kind, item.api_version
        if stored is None:
            stored = self.objects[name] = StoredObject(item, self._clock())
            self.size += len(item.raw) + _length(name)
            changed = True
        elif number > stored.number or (number == 0 and item.raw != stored.item.raw):
            self.size += len(item.raw) - len(stored.item.raw)
            stored.update(item, self._clock())
            changed = True
        elif number == stored.number:
            # The same version, so no write: only the age in a Table's row may differ. A row that was derived
            # from a client's write is replaced; in the API server's own rows "<" is escaped.
            changed = _UNKNOWN in stored.item.raw and _UNKNOWN not in item.raw
            self.size += len(item.raw) - len(stored.item.raw)
            stored.update(item, self._clock())
        if name in self.absent:
            self._forget_absent(name)
        self.newest = max(self.newest, number)
        if view is not None and name not in view.members:
            view.members[name] = stored
            stored.views = (*stored.views, view.identifier) if stored.views else view.only_this
            changed = True
        return changed

    def _absent(self, name: Name, version: int) -> None:
        if name in self.absent:
            self._forget_absent(name)
        while len(self.absent) >= MAX_ABSENT:
            self._forget_absent(next(iter(self.absent)))
        self.absent[name] = version
        self.size += _length(name)
        self._records.put_absent(name, version)

    def clear_absence(self, namespace: str, name: str) -> None:
        """Forget the 404 of an object; with an empty name, every 404 of the namespace."""
        for absent in [each for each in self.absent if each[0] == namespace and name in ("", each[1])]:
            self._forget_absent(absent)

    def _forget_absent(self, name: Name) -> None:
        del self.absent[name]
        self.size -= _length(name)
        self._records.drop_absent(name)

    def mark_partial(self, view: View) -> None:
        """Make a view partial, since it may lack objects, until it is listed again."""
        if view.complete:
            view.complete = False
            self._records.put_view(view, self.kind, self.api_version)

    def _remove_member(self, name: Name, view: View) -> None:
        """Remove an object from a view; drop it if no other view has it, as it may be deleted."""
        stored = view.members.pop(name, None)
        if stored is None:
            return
        stored.views = tuple(other for other in stored.views if other != view.identifier)
        if stored.views:
            self._records.put_object(name, stored)
        else:
            self._drop(name)

    def _drop(self, name: Name) -> None:
        stored = self.objects.pop(name, None)
        if stored is None:
            return
        self.size -= len(stored.item.raw) + _length(name)
        for view in self._views_of(stored):
            if view.members.pop(name, None) is not None and view.complete:
                self._records.put_view(view, self.kind, self.api_version)
        self._records.drop_object(name)

    def reset(self) -> None:
        """Forget everything: the cluster was restored, so that old and new versions cannot be compared, or
        the resource is no longer served.
        """
        for view in self.views.values():
            self.mark_partial(view)
            view.version, view.number, view.floor = "", 0, 0
            view.tombstones.clear()
        for name in list(self.objects):
            self._drop(name)
        self.forget_absent()
        self.newest = 0

    # -- forgetting

    def revoke(self, view: View) -> None:
        """The client may no longer list this: forget the view, or empty it if a watch is open."""
        if not view.watchers:
            self.forget_view(view)
            return
        self.mark_partial(view)
        for name in list(view.members):
            self._remove_member(name, view)

    def revoke_object(self, name: Name) -> None:
        """The client may no longer get this object: forget it, unless a list that it may read shows it."""
        stored = self.objects.get(name)
        if stored is not None and not stored.views:
            self.forget_object(name)

    def forget_view(self, view: View) -> None:
        """Forget a view and the objects that no other view has."""
        for name in list(view.members):
            self._remove_member(name, view)
        del self.views[view.scope]
        self.size -= _length(view.scope)
        del self._by_identifier[view.identifier]
        self._records.drop_view(view)
        self._forget_shared()

    def forget_absent(self) -> None:
        """Forget every 404."""
        for name in list(self.absent):
            self._forget_absent(name)

    def forget_object(self, name: Name) -> None:
        """Forget an object that is in no view."""
        self._drop(name)
        self._forget_shared()

    def retire(self) -> None:
        """Mark the empty collection as unused; later objects go to a new one."""
        self._forget_shared()
        self.retired = True

    def _forget_shared(self) -> None:
        if self._shared and not self.objects and not self.views:
            self._shared = self.codec.shared = b""
            self._records.drop_shared()

    # -- to the store, and from it

    def save(self) -> None:
        """Commit everything again."""
        for view in self.views.values():
            self._records.put_view(view, self.kind, self.api_version)
        for name, stored in self.objects.items():
            self._records.put_object(name, stored)
        for name, version in self.absent.items():
            self._records.put_absent(name, version)
        if self._shared:
            self._records.put_shared(self._shared)

    def load_absent(self, name: Name, version: int) -> None:
        """Load a 404."""
        self.absent[name] = version
        self.size += _length(name)

    def load_shared(self, shared: bytes) -> None:
        """Load what all objects share, such as a Table's columns."""
        self._shared = self.codec.shared = shared

    def load_view(self, header: ViewHeader) -> None:
        """Load a view; to be called before `load_object`."""
        view = self.view(Scope(header.namespace, header.labels, header.fields))
        view.advance(header.version)
        view.complete = header.complete
        view.updated = header.updated
        view.floor = view.number
        self._members[view.identifier] = header.members
        self.kind = self.kind or header.kind
        self.api_version = self.api_version or header.api_version
        self.newest = max(self.newest, view.number)

    def load_object(self, name: Name, header: ObjectHeader, raw: bytes) -> None:
        """Load an object."""
        name = (intern(name[0]), name[1])
        item = Item(*name, header.version, header.kind, header.api_version, raw)
        stored = self.objects[name] = StoredObject(item, header.updated)
        self.size += len(raw) + _length(name)
        self.newest = max(self.newest, stored.number)
        if header.kind and not self.kind:
            self.kind, self.api_version = header.kind, header.api_version
        views = [self._by_identifier[each] for each in header.views if each in self._by_identifier]
        stored.views = views[0].only_this if len(views) == 1 else tuple(view.identifier for view in views)
        for view in views:
            view.members[name] = stored

    def finish_load(self) -> int:
        """Make views partial whose members were not all loaded; to be called last.

        Returns the number of such views.
        """
        lacking = 0
        for identifier, members in self._members.items():
            view = self._by_identifier[identifier]
            if view.complete and len(view.members) != members:
                self.mark_partial(view)
                lacking += 1
        self._members.clear()
        return lacking
