"""Applies responses and watch events to the objects of one collection. Pure.

The newest version of an object wins, whether a get, list, watch or write showed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from superedge.kube.objects import Codec, Item, KnownItems, ListPage, WatchEvent, version_number
from superedge.liteapiserver.cache.membership import belongs
from superedge.liteapiserver.cache.objects import CollectionKey, Objects
from superedge.liteapiserver.cache.records import Commit
from superedge.liteapiserver.cache.scopes import Name, Scope
from superedge.liteapiserver.cache.views import StoredObject, View

_DECODED_EVENTS = 256


class Collection(Objects):
    """One identity's objects of one resource in one representation."""

    def __init__(
        self,
        key: CollectionKey,
        codec: Codec,
        commit: Commit,
        clock: Callable[[], float],
        restored: Callable[[Collection], None],
    ) -> None:
        """``clock`` gives Unix time; ``restored`` is called when a response shows that the cluster was
        restored from a backup, and resets the collections of every representation.
        """
        super().__init__(key, codec, commit, clock)
        self._restored = restored
        # Frames that several watches receive.
        self._decoded: dict[bytes, WatchEvent] = {}
        self._watches = 0

    def decode_object(self, body: bytes) -> Item:
        """Decode the response to a get. Raises DecodeError."""
        item = self.codec.decode_object(body)
        self._follow_shared()
        return item

    def decode_list(self, scope: Scope, body: bytes) -> ListPage:
        """Decode the response to a list, except objects that its view already has. Raises DecodeError."""
        view = self.views.get(scope)
        known = KnownItems([stored.item for stored in view.members.values()]) if view is not None else None
        page = self.codec.decode_list(body, known)
        self._follow_shared()
        return page

    def watch_started(self, view: View) -> None:
        """Note that a watch keeps a view up to date."""
        view.watchers += 1
        self._watches += 1

    def watch_ended(self, view: View) -> None:
        """Note that such a watch ended."""
        view.watchers -= 1
        self._watches -= 1
        if self._watches < 2:
            self._decoded.clear()

    def decode_event(self, frame: bytes) -> WatchEvent:
        """Decode a watch frame, or reuse the result when another watch received the same frame recently."""
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
        """Drop every row when the columns of a Table changed."""
        shared = self.codec.shared
        if shared == self._shared:
            return
        if self._shared:
            for view in self.views.values():
                self.mark_partial(view)
            for name in list(self.objects):
                self._drop(name)
        self._shared = shared
        self._records.put_shared(shared)

    def apply_get(self, item: Item, newest_before: int | None) -> None:
        """Apply the object that a get returned.

        ``newest_before`` is the version known when the get was sent: an older object comes from a restored
        cluster. None when the get allowed an old object.
        """
        if newest_before is not None and 0 < version_number(item.version) < newest_before:
            self._restored(self)
        self.apply_object(item)

    def apply_object(self, item: Item, is_own_write: bool = False) -> None:
        """Apply an object from the response to a get or a write, and update the older complete views."""
        self.put(item)
        name = (item.namespace, item.name)
        stored = self.objects.get(name)
        if stored is not None and stored.item is item:  # else the cached object is newer
            self._place(name, stored, list(self.views.values()), is_own_write)

    def _place(
        self, name: Name, stored: StoredObject, views: Iterable[View], is_own_write: bool = False
    ) -> None:
        """Add a new state of an object to the older complete views that select it, and remove it from others.

        Where that cannot be told after the client's own write, a view becomes partial, unless a watch keeps
        it up to date.
        """
        changed = False
        for view in views:
            if not view.complete or stored.number <= view.number:
                continue
            is_member = name in view.members
            selected = self._selects(view, name, stored)
            if selected is None:
                if is_own_write and not view.watchers:
                    self.mark_partial(view)
            elif selected != is_member:
                changed = True
                if selected:
                    view.members[name] = stored
                    stored.views = (*stored.views, view.identifier)
                else:
                    del view.members[name]
                    view.add_tombstone(stored.number, name, stored.item.raw)
                    stored.views = tuple(other for other in stored.views if other != view.identifier)
                self._records.put_view(view, self.kind, self.api_version)
        if changed:
            self._records.put_object(name, stored)

    def _place_elsewhere(self, name: Name, view: View) -> None:
        """Remove an object that ``view`` has brought from other views whose labels or fields it lost."""
        stored = self.objects.get(name)
        if stored is not None and len(stored.views) > 1:
            others = [each for each in self._views_of(stored) if each is not view and each.scope.is_selective]
            if others:
                self._place(name, stored, others)

    def _selects(self, view: View, name: Name, stored: StoredObject) -> bool | None:
        """Whether a view's scope selects an object; None when that cannot be told from what is decoded."""
        key = self.key
        return belongs(view.scope, self.codec, key.group, key.resource, name, stored.item.raw)

    def apply_not_found(self, name: Name, version: int) -> None:
        """Apply a 404; ``version`` is the latest version known before it.

        A later object that an open watch has shown may have been created since.
        """
        stored = self.objects.get(name)
        if stored is not None:
            if stored.number > version and any(view.watchers for view in self._views_of(stored)):
                return
            self._delete(name, stored, version + 1)
        self._absent(name, version)

    def apply_deletion(self, name: Name, version: int, raw: bytes = b"") -> None:
        """Apply the client's own deletion of an object, at some version after ``version``.

        A client that watches from an older list gets a DELETED event, with ``raw`` or the cached object.
        """
        stored = self.objects.get(name)
        if stored is not None:
            version = max(version, stored.number)
            self._delete(name, stored, version + 1, raw)
        self._absent(name, version)

    def _delete(self, name: Name, stored: StoredObject, number: int, raw: bytes = b"") -> None:
        """Drop an object that was deleted by the version ``number``; ``raw`` is its last state."""
        for view in self._views_of(stored):
            view.add_tombstone(max(view.number + 1, number), name, raw or stored.item.raw)
        self._drop(name)

    def invalidate(self, name: Name, version: int) -> None:
        """An object was created, changed or deleted at ``version`` or later, with an unknown result.

        The object is dropped, and complete views that may select it become partial, unless a watch keeps them
        up to date.
        """
        stored = self.objects.get(name)
        if max(self.absent.get(name, 0), stored.number if stored is not None else 0) >= version:
            return
        self.clear_absence(*name)
        for view in self.views.values():
            older = view.number < version or name in view.members
            if older and not view.watchers and view.scope.may_select(name):
                self.mark_partial(view)
        if stored is not None and not any(view.watchers for view in self._views_of(stored)):
            self._drop(name)

    def replace(self, scope: Scope, page: ListPage, newest_before: int | None) -> None:
        """Replace a view by a complete list.

        ``newest_before`` is `newest_for` when the list was requested: an older list comes from a restored
        cluster. None when the request allowed an old list.
        """
        number = version_number(page.version)
        view = self.view(scope)
        if newest_before is not None and number < newest_before:
            self._restored(self)
        elif number < view.number and (view.complete or view.watchers):
            return  # the view is newer, or a watch has events that this list lacks
        if page.kind.endswith("List"):
            self.kind, self.api_version = page.kind.removesuffix("List"), page.api_version
        items: Iterable[Item] = page.items
        if number < self.newest:
            items = [item for item in items if not self._gone_since(item, number)]
        listed = self._put_all(items, view)
        lacking = {name for name in view.members if name not in listed}
        if self.newest > number or (scope.proves_deletion and not scope.fields):
            lacking.update(name for name in self.objects if name not in listed and scope.covers(name))
        for name in lacking:
            stored = self.objects[name]
            if stored.number > number and self._selects(view, name, stored):
                self._put(name, stored.item, view)  # it was created after the list
                self._records.put_object(name, stored)
                listed[name] = None
            elif scope.proves_deletion and stored.number <= number:
                self._delete(name, stored, number)
            else:
                self._remove_member(name, view)
        view.reorder(listed)
        view.version, view.number = page.version, number
        view.complete, view.expired = True, False
        view.updated = view.used = self._clock()
        view.floor = number
        view.tombstones.clear()
        if number < self.newest:
            for name in listed:
                self._place(name, self.objects[name], [view])  # those that are newer than the list
        if number < self.newest or self.absent:
            for item in page.items:
                if (item.namespace, item.name) not in listed:  # known to be deleted since
                    view.add_tombstone(number + 1, (item.namespace, item.name), item.raw)
        self.newest = max(self.newest, number)
        self._records.put_view(view, self.kind, self.api_version)

    def _gone_since(self, item: Item, number: int) -> bool:
        """Whether a complete view, later than the version ``number``, lacks an object of that version."""
        views = (self.views.get(Scope(space, "", "")) for space in ("", item.namespace))
        name = (item.namespace, item.name)
        return any(
            view is not None and view.complete and view.number > number and name not in view.members
            for view in views
        )

    def _put_all(self, items: Iterable[Item], view: View) -> dict[Name, None]:
        """Put a list's objects; returns their names in the list's order."""
        now = self._clock()
        listed: dict[Name, None] = {}
        changed = []
        for item in items:
            name = (item.namespace, item.name)
            stored = view.members.get(name)
            if stored is not None and stored.item is item:
                stored.updated = now  # unchanged
            elif self._put(name, item, view):
                changed.append(name)
            if name in view.members:
                listed[name] = None
        # Last, so that short-lived allocations do not fragment the memory of the objects.
        for name in changed:
            self._records.put_object(name, self.objects[name])
            self._place_elsewhere(name, view)
        return listed

    def apply(self, view: View, event: WatchEvent, follows: bool = True) -> None:
        """Apply one watch event to the view that the watch continues.

        ``follows`` says that no event is missing between the view and the watch. Otherwise the event changes
        its own object only, and the view keeps its version, from which clients resume.
        """
        item = event.item
        if event.type == "ERROR":
            # The view stays valid at its version.
            view.expired = view.expired or event.code == 410
            return
        number = version_number(item.version)
        if view.complete and 0 < number <= view.number:
            view.updated = self._clock()  # another watch is ahead and has shown it
            return
        members = len(view.members)
        if event.type in ("ADDED", "MODIFIED"):
            name = (item.namespace, item.name)
            if number > view.number or name not in view.members:
                self.put(item, view)
                stored = self.objects.get(name)
                if stored is not None and stored.item is not item:
                    self._place(name, stored, [view])  # it is newer, and may be selected no longer
                else:
                    self._place_elsewhere(name, view)
        elif event.type == "DELETED":
            self._deleted(view, item, number)
        view.updated = self._clock()
        self.newest = max(self.newest, number)
        if (follows and view.advance(item.version)) or len(view.members) != members:
            self._records.put_view(view, self.kind, self.api_version)

    def _deleted(self, view: View, item: Item, number: int) -> None:
        name = (item.namespace, item.name)
        stored = self.objects.get(name)
        if stored is None:
            if name in self.absent:  # this client deleted it, without learning the version
                view.add_tombstone(number, name, item.raw)
            return
        if stored.number > number:
            return
        if view.scope.proves_deletion:
            for holder in self._views_of(stored):
                holder.add_tombstone(number, name, item.raw)
            self._drop(name)
        elif name in view.members:
            view.add_tombstone(number, name, item.raw)
            self._remove_member(name, view)
