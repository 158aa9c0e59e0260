"""One identity's objects of one resource in one representation, and the views of them. Pure.

An object is shared by all views it is a member of; the newest version wins, whichever of get, list or
watch brought it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from sys import intern
from typing import NamedTuple

from superedge.kube.media import Representation
from superedge.kube.objects import Codec, Item, Known, ListPage, WatchEvent, version_number
from superedge.liteapiserver.cache.durable import CollectionRecords
from superedge.liteapiserver.cache.membership import belongs
from superedge.liteapiserver.cache.records import Commit, ObjectHeader, ViewHeader
from superedge.liteapiserver.cache.scopes import Name, Scope
from superedge.liteapiserver.cache.views import StoredObject, View

MAX_ABSENT = 1000
"""404s a collection remembers; the oldest give way."""
_DECODED_EVENTS = 256


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


class Collection:
    """See the module."""

    def __init__(
        self,
        key: CollectionKey,
        codec: Codec,
        commit: Commit,
        clock: Callable[[], float],
        restored: Callable[[Collection], None],
    ) -> None:
        """``clock`` gives Unix time; ``restored`` is told when an answer comes from a cluster that was
        restored, and has every form of the resource `begin_anew`.
        """
        self._restored = restored
        self.key = key
        self.codec = codec
        self._records = CollectionRecords(key.parts, commit)
        self._clock = clock
        self.kind = ""
        self.api_version = ""
        self.objects: dict[Name, StoredObject] = {}
        self.absent: dict[Name, int] = {}
        """What a 404 said not to be there, and the latest version known then."""
        self.views: dict[Scope, View] = {}
        self._by_identifier: dict[str, View] = {}
        # What several watches bring alike.
        self._decoded: dict[bytes, WatchEvent] = {}
        self._watches = 0
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

    # -- what comes in

    def decode_object(self, body: bytes) -> Item:
        """Decode the answer to a get. Raises DecodeError."""
        item = self.codec.decode_object(body)
        self._follow_shared()
        return item

    def decode_list(self, scope: Scope, body: bytes) -> ListPage:
        """Decode the answer to a list; what its view has already is not decoded. Raises DecodeError."""
        view = self.views.get(scope)
        known = Known([stored.item for stored in view.members.values()]) if view is not None else None
        page = self.codec.decode_list(body, known)
        self._follow_shared()
        return page

    def watched(self, view: View) -> None:
        """A watch keeps a view up to date from now on."""
        view.watchers += 1
        self._watches += 1

    def unwatched(self, view: View) -> None:
        """It ended."""
        view.watchers -= 1
        self._watches -= 1
        if self._watches < 2:
            self._decoded.clear()

    def decode_event(self, frame: bytes) -> WatchEvent:
        """Decode a watch frame; one that another watch brought a moment ago is not decoded again."""
        known = self._decoded.get(frame)
        if known is not None:
            return known
        event = self.codec.decode_event(frame)
        if self._watches > 1:
            if len(self._decoded) >= _DECODED_EVENTS:
                del self._decoded[next(iter(self._decoded))]
            self._decoded[frame] = event
        if self.codec.shared is not self._shared:
            self._follow_shared()
        return event

    def _follow_shared(self) -> None:
        """Rows under other columns say nothing any more."""
        shared = self.codec.shared
        if shared == self._shared:
            return
        if self._shared:
            for view in self.views.values():
                self.doubt(view)
            for name in list(self.objects):
                self._drop(name)
        self._shared = shared
        self._records.put_shared(shared)

    def take(self, item: Item, newest_before: int | None) -> None:
        """Take an object from a get.

        ``newest_before`` is the version that was known when it was asked for: an older one comes from a
        cluster that was restored. None when it was allowed to be old.
        """
        if newest_before is not None and 0 < version_number(item.version) < newest_before:
            self._restored(self)
        self.show(item)

    def show(self, item: Item) -> None:
        """Take an object that the cloud showed by itself, in answer to a get or a write.

        A list that is older shows it from now on if it selects it, and does not if it selects it no longer.
        """
        self.put(item)
        name, number = (item.namespace, item.name), version_number(item.version)
        stored = self.objects.get(name)
        if stored is None or stored.item is not item:
            return  # what is known is newer
        changed = False
        for view in list(self.views.values()):
            if view.complete and number > view.number and self._place(view, name, stored):
                changed = True
                self._records.put_view(view, self.kind, self.api_version)
        if changed and name in self.objects:
            self._records.put_object(name, stored)

    def _place(self, view: View, name: Name, stored: StoredObject) -> bool:
        """Have a view hold an object if it selects it, and not if it does not; whether that changes it."""
        selected = self._selects(view, name, stored)
        if selected is None or selected == (name in view.members):
            return False
        if selected:
            view.members[name] = stored
            stored.views = (*stored.views, view.identifier)
        else:
            del view.members[name]
            stored.views = tuple(other for other in stored.views if other != view.identifier)
        return True

    def _selects(self, view: View, name: Name, stored: StoredObject) -> bool | None:
        """Whether a view's scope selects an object as it is now, None when nobody can tell."""
        key = self.key
        return belongs(view.scope, self.codec, key.group, key.resource, name, stored.item.raw)

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
            # Seen again: not worth a write. A Table's row counts the object's age, all else is the same.
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

    def missing(self, name: Name, version: int) -> None:
        """The API server said that there is no such object; ``version`` is the latest known before it did.

        What an open watch shows is left to that watch: it may have been made since.
        """
        stored = self.objects.get(name)
        if stored is not None:
            if any(view.watchers for view in self._views_of(stored)):
                return
            self._drop(name)
        self._absent(name, version)

    def _absent(self, name: Name, version: int) -> None:
        if name in self.absent:
            self._forget_absent(name)
        while len(self.absent) >= MAX_ABSENT:
            self._forget_absent(next(iter(self.absent)))
        self.absent[name] = version
        self.size += _length(name)
        self._records.put_absent(name, version)

    def _views_of(self, stored: StoredObject) -> Iterator[View]:
        return (self._by_identifier[identifier] for identifier in stored.views)

    def seen(self, stored: StoredObject) -> int:
        """The latest version at which an object is known to have been there."""
        complete = (view.number for view in self._views_of(stored) if view.complete)
        return max(stored.number, *complete, 0)

    def found(self, namespace: str, name: str) -> None:
        """Forget a remembered 404; without a name, every one of the namespace."""
        for absent in [each for each in self.absent if each[0] == namespace and name in ("", each[1])]:
            self._forget_absent(absent)

    def _forget_absent(self, name: Name) -> None:
        del self.absent[name]
        self.size -= _length(name)
        self._records.drop_absent(name)

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

    def removed(self, name: Name, version: int, raw: bytes = b"") -> None:
        """The cloud deleted an object at this client's request, at some version after ``version``.

        Clients that go on from an older list are told, with ``raw`` or the object as it was known.
        """
        stored = self.objects.get(name)
        if stored is not None:
            version = max(version, stored.number)
            for view in self._views_of(stored):
                view.bury(max(view.number, version) + 1, raw or stored.item.raw)
            self._drop(name)
        self._absent(name, version)

    def outdated(self, name: Name, version: int) -> None:
        """An object changed, was made or is gone at ``version`` or later, and how is not known.

        Neither the object as it was nor a list that shows it, or may lack it, is true any more. An open watch
        will tell.
        """
        stored = self.objects.get(name)
        if max(self.absent.get(name, 0), stored.number if stored is not None else 0) >= version:
            return
        self.found(*name)
        for view in self.views.values():
            older = view.number < version or name in view.members
            if older and not view.watchers and view.scope.may_hold(name):
                self.doubt(view)
        if stored is not None and not any(view.watchers for view in self._views_of(stored)):
            self._drop(name)

    def replace(self, scope: Scope, page: ListPage, newest_before: int | None) -> None:
        """Replace a view by a whole list.

        ``newest_before`` is `newest_for` at the moment a consistent list was asked for: one that is older
        comes from a cluster that was restored. None when the list was allowed to be old.
        """
        number = version_number(page.version)
        view = self.view(scope)
        if newest_before is not None and number < newest_before:
            self._restored(self)
        elif number < view.number and (view.complete or view.watchers):
            return  # what is known is newer, or a watch has told what this list lacks
        if page.kind.endswith("List"):
            self.kind, self.api_version = page.kind.removesuffix("List"), page.api_version
        listed = self._put_all(page.items, view)
        lacking = {name for name in view.members if name not in listed}
        if scope.proves_deletion and not scope.fields:
            lacking.update(name for name in self.objects if name not in listed and scope.covers(name))
        for name in lacking:
            stored = self.objects[name]
            if stored.number > number and self._selects(view, name, stored):
                self._put(name, stored.item, view)  # it was made after the list
                self._records.put_object(name, stored)
                listed[name] = None
            elif scope.proves_deletion and stored.number <= number:
                self._drop(name)
            else:
                self._leave(name, view)
        view.arrange(listed)
        view.version, view.number = page.version, number
        view.complete, view.expired = True, False
        view.updated = view.used = self._clock()
        view.floor = number
        view.tombstones.clear()
        self.newest = max(self.newest, number)
        self._records.put_view(view, self.kind, self.api_version)

    def _put_all(self, items: Iterable[Item], view: View) -> dict[Name, None]:
        """Take a list's objects; their names, in its order."""
        now = self._clock()
        listed: dict[Name, None] = {}
        changed = []
        for item in items:
            name = (item.namespace, item.name)
            stored = view.members.get(name)
            if stored is not None and stored.item is item:
                stored.updated = now  # as it was
            elif self._put(name, item, view):
                changed.append(name)
            if name in view.members:
                listed[name] = None
        # Last, so that memory that is needed for a moment lies apart from memory that stays.
        for name in changed:
            self._records.put_object(name, self.objects[name])
        return listed

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

    def apply(self, view: View, event: WatchEvent, follows: bool = True) -> None:
        """Take one watch event into the view that the watch continues.

        ``follows`` says that nothing was missed between the view and the watch. Otherwise the event counts
        for its own object, and the view stays complete at its version, which is where clients go on from.
        """
        item = event.item
        if event.type == "ERROR":
            # What was listed stays true, at its version.
            view.expired = view.expired or event.code == 410
            return
        number = version_number(item.version)
        if view.complete and view.floor < number <= view.number:
            view.updated = self._clock()  # another watch, which is ahead, brought it
            return
        members = len(view.members)
        if event.type in ("ADDED", "MODIFIED"):
            if number > view.number or (item.namespace, item.name) not in view.members:
                self.put(item, view)
        elif event.type == "DELETED":
            self._deleted(view, item, number)
        view.updated = self._clock()
        self.newest = max(self.newest, number)
        if (follows and view.advance(item.version)) or len(view.members) != members:
            self._records.put_view(view, self.kind, self.api_version)

    def _deleted(self, view: View, item: Item, number: int) -> None:
        name = (item.namespace, item.name)
        stored = view.members.get(name)
        if stored is None:
            if name in self.absent:  # it was deleted by this client, who did not learn the version
                view.bury(number, item.raw)
            return
        if stored.number > number:
            return
        if view.scope.proves_deletion:
            for holder in self._views_of(stored):
                holder.bury(number, item.raw)
            self._drop(name)
        else:
            view.bury(number, item.raw)
            self._leave(name, view)

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

    def restore_absent(self, name: Name, version: int) -> None:
        """Take back a 404."""
        self.absent[name] = version
        self.size += _length(name)

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
