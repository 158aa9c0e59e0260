"""A versioned object store: one revision counter, a bounded history, watch fan-out. Pure.

The revision grows by one with each change, as etcd's does, and is the resourceVersion of everything
that is read. Objects given to the store or taken from it are shared: never change them in place.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec

Object = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]


class Collection(NamedTuple):
    """All objects of one resource, whatever their version and namespace."""

    group: str
    plural: str


class Key(NamedTuple):
    """Where an object is; ``namespace`` is empty for cluster-scoped ones. Lists are in key order."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as of ``revision`` (its metadata.resourceVersion), and its JSON."""

    key: Key
    revision: int
    object: Object
    json: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """One change; ``previous`` is what was there before it. For DELETED ``stored`` is the last state."""

    type: EventType
    revision: int
    collection: Collection
    stored: Stored
    previous: Stored | None


class Compacted(Exception):
    """The history needed is no longer there; ``oldest`` is the first revision to watch from."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"compacted before {oldest}")
        self.oldest = oldest


Listener = Callable[[Event], None]


class Subscription:
    """A listener's place in the fan-out."""

    def __init__(self, listeners: list[Subscription], callback: Listener) -> None:
        self._listeners = listeners
        self.callback = callback
        listeners.append(self)

    def cancel(self) -> None:
        """Hear nothing more."""
        if self in self._listeners:
            self._listeners.remove(self)


class Store:
    """``history`` changes are kept for watches, continued lists and exact reads of the past."""

    def __init__(self, history: int = 10_000, revision: int = 1) -> None:
        self.revision = revision
        self._limit = history
        self._objects: dict[Collection, dict[Key, Stored]] = {}
        self._events: deque[Event] = deque()
        self._oldest = revision
        self._listeners: dict[Collection | None, list[Subscription]] = {}

    @property
    def oldest(self) -> int:
        """The lowest revision whose following changes are all still known."""
        return self._oldest

    def get(self, collection: Collection, key: Key) -> Stored | None:
        """The object now."""
        return self._objects.get(collection, {}).get(key)

    def put(self, collection: Collection, key: Key, item: Object) -> Stored:
        """Store ``item``, which becomes the store's; its resourceVersion is set here."""
        objects = self._objects.setdefault(collection, {})
        previous = objects.get(key)
        self.revision += 1
        item["metadata"]["resourceVersion"] = str(self.revision)
        stored = Stored(key, self.revision, item, msgspec.json.encode(item))
        objects[key] = stored
        self._record(Event("MODIFIED" if previous else "ADDED", self.revision, collection, stored, previous))
        return stored

    def delete(self, collection: Collection, key: Key) -> Stored:
        """Remove the object, which must be there; the result carries the revision of its removal."""
        previous = self._objects[collection].pop(key)
        self.revision += 1
        item = copy.deepcopy(previous.object)
        item["metadata"]["resourceVersion"] = str(self.revision)
        stored = Stored(key, self.revision, item, msgspec.json.encode(item))
        self._record(Event("DELETED", self.revision, collection, stored, previous))
        return stored

    def snapshot(
        self, collection: Collection, namespace: str = "", revision: int | None = None
    ) -> list[Stored]:
        """All objects in key order, of one namespace or of all (``""``), now or as of ``revision``.

        Raises Compacted when the history does not reach back that far.
        """
        objects = self._objects.get(collection, {})
        if revision is not None and revision < self.revision:
            objects = dict(objects)
            for event in reversed(self._after(revision)):
                if event.collection != collection:
                    continue
                if event.previous is None:
                    objects.pop(event.stored.key, None)
                else:
                    objects[event.stored.key] = event.previous
        return [objects[key] for key in sorted(objects) if not namespace or key.namespace == namespace]

    def events_after(self, collection: Collection, revision: int) -> list[Event]:
        """Changes later than ``revision``. Raises Compacted."""
        return [event for event in self._after(revision) if event.collection == collection]

    def subscribe(self, collection: Collection | None, callback: Listener) -> Subscription:
        """Call back with each later change of ``collection``, or of everything when it is None."""
        return Subscription(self._listeners.setdefault(collection, []), callback)

    def compact(self, revision: int | None = None) -> None:
        """Forget the history up to ``revision``, by default all of it."""
        until = self.revision if revision is None else revision
        while self._events and self._events[0].revision <= until:
            self._oldest = self._events.popleft().revision
        self._oldest = max(self._oldest, min(until, self.revision))

    def restore(self, revision: int, objects: list[tuple[Collection, Object]]) -> None:
        """Begin with ``objects`` as of ``revision``, with no history before it."""
        self.revision = self._oldest = revision
        for collection, item in objects:
            metadata = item["metadata"]
            key = Key(metadata.get("namespace", ""), metadata["name"])
            version = int(metadata["resourceVersion"])
            stored = Stored(key, version, item, msgspec.json.encode(item))
            self._objects.setdefault(collection, {})[key] = stored

    def everything(self) -> list[tuple[Collection, Stored]]:
        """All objects of all collections."""
        return [
            (collection, stored) for collection, held in self._objects.items() for stored in held.values()
        ]

    def _after(self, revision: int) -> list[Event]:
        if revision < self._oldest:
            raise Compacted(self._oldest)
        events = list(self._events)
        return events[bisect_right(events, revision, key=lambda event: event.revision) :]

    def _record(self, event: Event) -> None:
        self._events.append(event)
        if len(self._events) > self._limit:
            self._oldest = self._events.popleft().revision
        for name in (event.collection, None):
            for subscription in tuple(self._listeners.get(name, ())):
                subscription.callback(event)
