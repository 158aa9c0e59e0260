"""The objects and views of one collection, kept in step with each other and with the store. Pure."""

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
"""404s a collection remembers; the oldest give way."""


def _length(parts: tuple[str, ...]) -> int:
    return sum(map(len, parts))


class CollectionKey(NamedTuple):
    """Whose objects of which resource in which form."""

    identity: str
    group: str
    version: str
    resource: str
    representation: Representation

    @property
    def parts(self) -> tuple[str, ...]:
        """The beginning of its records' keys."""
        return (self.identity, self.group, self.version, self.resource, str(self.representation))


class Objects:
    """Objects, what is known not to be there, and views: what `Collection` changes.

    An object is shared by all views it is a member of; the newest version wins.
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
        """What a 404 or a deletion said not to be there, and a version at which it was known."""
        self.views: dict[Scope, View] = {}
        self._by_identifier: dict[str, View] = {}
        self._shared = codec.shared
        # While restoring: how many members each view had.
        self._members: dict[str, int] = {}
        self.newest = 0
        """The latest version seen."""
        self.size = 0
        """Bytes of all objects, and of what names them and the views."""
        self.retired = False
        """Whether another takes its place, see `retire`."""

    @property
    def records(self) -> int:
        """How much is remembered, in pieces."""
        return len(self.objects) + len(self.views) + len(self.absent)

    def view(self, scope: Scope) -> View:
        """The view of a scope, made partial when there is none."""
        view = self.views.get(scope)
        if view is None:
            view = self.views[scope] = View(scope, self._clock())
            self.size += _length(scope)
            self._by_identifier[view.identifier] = view
        return view

    def newest_for(self, scope: Scope) -> int:
        """The latest version known of what a scope shows."""
        view = self.views.get(scope)
        return max(self.newest, view.number if view is not None else 0)

    def seen(self, stored: StoredObject) -> int:
        """The latest version at which an object is known to have been there."""
        complete = (view.number for view in self._views_of(stored) if view.complete)
        return max(stored.number, *complete, 0)

    def _views_of(self, stored: StoredObject) -> Iterator[View]:
        return (self._by_identifier[identifier] for identifier in stored.views)

    def put(self, item: Item, view: View | None = None) -> None:
        """Take an object as it is shown, by a watch as a member of ``view``."""
        name = (item.namespace, item.name)
        if self._put(name, item, view):
            self._records.put_object(name, self.objects[name])

    def _put(self, name: Name, item: Item, view: View | None) -> bool:
        """Take an object; whether it is to be saved."""
        number = version_number(item.version)
        stored = self.objects.get(name)
        changed = False
        if 0 < number <= self.absent.get(name, 0):
            return False  # as it was before it was deleted
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
            # Seen again: not worth a write. A Table's row counts the object's age, all else is the same,
            # unless the row was made of what a client wrote; the API server has "<" escaped.
            changed = _UNKNOWN in stored.item.raw and _UNKNOWN not in item.raw
            self.size += len(item.raw) - len(stored.item.raw)
            stored.update(item, self._clock())
        if name in self.absent:
            self._forget_absent(name)
        self.newest = max(self.newest, number)
        if view is not None and name not in view.members:
            view.members[name] = stored
            stored.views = (*stored.views, view.identifier) if stored.views else view.alone
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

    def found(self, namespace: str, name: str) -> None:
        """Forget a remembered 404; without a name, every one of the namespace."""
        for absent in [each for each in self.absent if each[0] == namespace and name in ("", each[1])]:
            self._forget_absent(absent)

    def _forget_absent(self, name: Name) -> None:
        del self.absent[name]
        self.size -= _length(name)
        self._records.drop_absent(name)

    def doubt(self, view: View) -> None:
        """Something may be missing: the view is partial until it is listed again."""
        if view.complete:
            view.complete = False
            self._records.put_view(view, self.kind, self.api_version)

    def _leave(self, name: Name, view: View) -> None:
        """Take an object out of a view; one that no view holds may be gone, and is forgotten."""
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

    def begin_anew(self) -> None:
        """Nothing from before counts: the cluster went back in time, so that versions from before cannot be
        compared with those to come, or the resource is no longer served.
        """
        for view in self.views.values():
            self.doubt(view)
            view.version, view.number, view.floor = "", 0, 0
            view.tombstones.clear()
        for name in list(self.objects):
            self._drop(name)
        self.forget_absent()
        self.newest = 0

    # -- forgetting

    def revoke(self, view: View) -> None:
        """The client may no longer list this: forget what it showed; a watch that is open goes on."""
        if not view.watchers:
            self.forget_view(view)
            return
        self.doubt(view)
        for name in list(view.members):
            self._leave(name, view)

    def revoke_object(self, name: Name) -> None:
        """The client may no longer get this: forget it, unless a list shows it, which it may read."""
        stored = self.objects.get(name)
        if stored is not None and not stored.views:
            self.forget_object(name)

    def forget_view(self, view: View) -> None:
        """Forget a view, and the objects that no other view holds."""
        for name in list(view.members):
            self._leave(name, view)
        del self.views[view.scope]
        self.size -= _length(view.scope)
        del self._by_identifier[view.identifier]
        self._records.drop_view(view)
        self._forget_shared()

    def forget_absent(self) -> None:
        """Forget every remembered 404."""
        for name in list(self.absent):
            self._forget_absent(name)

    def forget_object(self, name: Name) -> None:
        """Forget an object that is in no view."""
        self._drop(name)
        self._forget_shared()

    def retire(self) -> None:
        """Nothing is remembered here any more; what comes now goes to another."""
        self._forget_shared()
        self.retired = True

    def _forget_shared(self) -> None:
        if self._shared and not self.objects and not self.views:
            self._shared = self.codec.shared = b""
            self._records.drop_shared()

    # -- to the store, and from it

    def save(self) -> None:
        """Write down everything once more."""
        for view in self.views.values():
            self._records.put_view(view, self.kind, self.api_version)
        for name, stored in self.objects.items():
            self._records.put_object(name, stored)
        for name, version in self.absent.items():
            self._records.put_absent(name, version)
        if self._shared:
            self._records.put_shared(self._shared)

    def restore_absent(self, name: Name, version: int) -> None:
        """Take back a 404."""
        self.absent[name] = version
        self.size += _length(name)

    def restore_shared(self, shared: bytes) -> None:
        """Take back what no object says itself."""
        self._shared = self.codec.shared = shared

    def restore_view(self, header: ViewHeader) -> None:
        """Take back a view; to be called before `restore_object`."""
        view = self.view(Scope(header.namespace, header.labels, header.fields))
        view.advance(header.version)
        view.complete = header.complete
        view.updated = header.updated
        view.floor = view.number
        self._members[view.identifier] = header.members
        self.kind = self.kind or header.kind
        self.api_version = self.api_version or header.api_version
        self.newest = max(self.newest, view.number)

    def restore_object(self, name: Name, header: ObjectHeader, raw: bytes) -> None:
        """Take back an object."""
        name = (intern(name[0]), name[1])
        item = Item(*name, header.version, header.kind, header.api_version, raw)
        stored = self.objects[name] = StoredObject(item, header.updated)
        self.size += len(raw) + _length(name)
        self.newest = max(self.newest, stored.number)
        if header.kind and not self.kind:
            self.kind, self.api_version = header.kind, header.api_version
        views = [self._by_identifier[each] for each in header.views if each in self._by_identifier]
        stored.views = views[0].alone if len(views) == 1 else tuple(view.identifier for view in views)
        for view in views:
            view.members[name] = stored

    def settle(self) -> int:
        """Everything is taken back: doubt views that lack a member, which is no proof that it was deleted.

        Returns how many do.
        """
        lacking = 0
        for identifier, members in self._members.items():
            view = self._by_identifier[identifier]
            if view.complete and len(view.members) != members:
                self.doubt(view)
                lacking += 1
        self._members.clear()
        return lacking
