"""A versioned object store: one revision counter, a bounded history, watch fan-out. Pure.

Each change increments the revision, as in etcd; it is the resourceVersion of all results. Objects are shared
with the store: never change them in place.
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
    """The objects of one resource in all versions and namespaces."""

    group: str
    plural: str


class Key(NamedTuple):
    """The key of an object; ``namespace`` is empty if it is cluster-scoped. Lists are in key order."""

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
    """One change; ``previous`` is the object before it. For DELETED, ``stored`` is the last state."""

    type: EventType
    revision: int
    collection: Collection
    stored: Stored
    previous: Stored | None


class Compacted(Exception):
    """The requested history is compacted; ``oldest`` is the first revision that can be watched."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"compacted before {oldest}")
        self.oldest = oldest


Listener = Callable[[Event], None]


class Subscription:
    """A registered listener."""

    def __init__(self, listeners: list[Subscription], callback: Listener) -> None:
        self._listeners = listeners
        self.callback = callback
        listeners.append(self)

    def cancel(self) -> None:
        """Unregister the listener."""
        if self in self._listeners:
            self._listeners.remove(self)


class Store:
    """Keeps the last ``history`` changes for watches, continued lists and reads of past versions."""

    def __init__(self, history: int = 10_000, revision: int = 1) -> None:
        self.revision = revision
        self._limit = history
        self._objects: dict[Collection, dict[Key, Stored]] = {}
        self._events: deque[Event] = deque()
        self._oldest = revision
        self._listeners: dict[Collection | None, list[Subscription]] = {}

    @property
    def oldest(self) -> int:
        """The lowest revision after which all changes are in the history."""
        return self._oldest

    def get(self, collection: Collection, key: Key) -> Stored | None:
        """The current object."""
        return self._objects.get(collection, {}).get(key)

    def put(self, collection: Collection, key: Key, item: Object) -> Stored:
        """Store ``item`` and set its resourceVersion. The caller must not change it afterwards."""
        objects = self._objects.setdefault(collection, {})
        previous = objects.get(key)
        self.revision += 1
        item["metadata"]["resourceVersion"] = str(self.revision)
        stored = Stored(key, self.revision, item, msgspec.json.encode(item))
        objects[key] = stored
        self._record(Event("MODIFIED" if previous else "ADDED", self.revision, collection, stored, previous))
        return stored

    def delete(self, collection: Collection, key: Key) -> Stored:
        """Delete the object, which must exist. The result has the revision of the deletion."""
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
        """All objects of one namespace or of all (``""``) in key order, now or as of ``revision``.

        Raises Compacted when the history does not include ``revision``.
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
        """Call ``callback`` with each later change of ``collection``, or of all collections if None."""
        return Subscription(self._listeners.setdefault(collection, []), callback)

    def compact(self, revision: int | None = None) -> None:
        """Drop the history up to ``revision``, or all of it."""
        until = self.revision if revision is None else revision
        while self._events and self._events[0].revision <= until:
            self._oldest = self._events.popleft().revision
        self._oldest = max(self._oldest, min(until, self.revision))

    def restore(self, revision: int, objects: list[tuple[Collection, Object]]) -> None:
        """Replace all objects by those as of ``revision``, without earlier history."""
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
