"""One identity's objects of one resource in one representation, and what answers and events do to them. Pure.

The newest version wins, whichever of get, list, watch or write brought it.
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
        super().__init__(key, codec, commit, clock)
        self._restored = restored
        # What several watches bring alike.
        self._decoded: dict[bytes, WatchEvent] = {}
        self._watches = 0

    def decode_object(self, body: bytes) -> Item:
        """Decode the answer to a get. Raises DecodeError."""
        item = self.codec.decode_object(body)
        self._follow_shared()
        return item

    def decode_list(self, scope: Scope, body: bytes) -> ListPage:
        """Decode the answer to a list; what its view has already is not decoded. Raises DecodeError."""
        view = self.views.get(scope)
        known = KnownItems([stored.item for stored in view.members.values()]) if view is not None else None
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
