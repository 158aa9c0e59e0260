"""The entry point of the cache. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from superedge.interfaces import Entry
from superedge.kube.errors import SelectorError
from superedge.kube.objects import Item
from superedge.kube.request import RequestInfo, qualified
from superedge.liteapiserver import metrics
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.answers import Answer, WatchAnswer, forbidden
from superedge.liteapiserver.cache.backlog import Backlog
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.denials import Denials
from superedge.liteapiserver.cache.documents import Documents
from superedge.liteapiserver.cache.eviction import Limits, evict
from superedge.liteapiserver.cache.index import CollectionIndex
from superedge.liteapiserver.cache.loading import load
from superedge.liteapiserver.cache.offline import OfflineReader
from superedge.liteapiserver.cache.online import OnlineRecorder
from superedge.liteapiserver.cache.policy import Policy
from superedge.liteapiserver.cache.records import Commit
from superedge.liteapiserver.cache.representations import (
    accepted_representations,
)
from superedge.liteapiserver.cache.scopes import Name, scope_of
from superedge.liteapiserver.cache.selection import Selection, select


class Cache:
    """`record` while the cloud answers, `answer` while it does not. Identities share nothing.

    Args:
        policy: which responses are cached.
        commit: makes one record durable, or deletes it.
        max_body: bytes of the longest response that is cached, and of all unfinished ones of one
            identity.
        limits: the size that `evict` reduces the cache to.
        clock: Unix time.
        backlog: where long lists wait to be decoded; without it they are decoded at once.
    """

    def __init__(
        self,
        policy: Policy,
        commit: Commit,
        max_body: int,
        limits: Limits,
        clock: Callable[[], float] = time.time,
        backlog: Backlog | None = None,
    ) -> None:
        self._commit = commit
        self._limits = limits
        self._clock = clock
        self._collections = CollectionIndex(policy, commit, clock)
        self._documents = Documents(clock)
        self._denials = Denials(self._collections, self._documents, commit)
        self._offline = OfflineReader(self._collections, self._documents, clock)
        self._online = OnlineRecorder(
            self._collections, self._documents, self._denials, policy, commit, max_body, clock, backlog
        )
        self.baseline = self._online.baseline
        self.record = self._online.record
        self.record_write = self._online.record_write

    def load(self, entries: list[Entry]) -> None:
        """Load what a store holds. An entry that cannot be read is dropped.

        ``entries`` is emptied meanwhile, so that no large value is in memory twice.
        """
        load(entries, self._collections, self._documents, self._denials, self._commit)

    # -- online

    def resume_version(self, identity: str, request: RequestInfo) -> str:
        """The resourceVersion from which a watch may continue the view that a list request names; empty when
        the view has to be listed first.
        """
        self._online.drain(identity, request)
        for representation in accepted_representations(request)[:1]:
            collection = self._online.collection_of(identity, request, representation)
            view = collection.views.get(scope_of(request)) if collection is not None else None
            if view is not None and view.complete and not view.expired:
                return view.version
        return ""

    def members(self, identity: str, request: RequestInfo) -> tuple[int, dict[Name, Item]] | None:
        """The objects that a list or watch selects, in the representation that it prefers, and the version at
        which they are known; None when not all are known.
        """
        selection = self._selection(identity, request)
        return None if selection is None else (selection.number, selection.items())

    def _selection(self, identity: str, request: RequestInfo) -> Selection | None:
        self._online.drain(identity, request)
        for representation in accepted_representations(request)[:1]:
            collection = self._online.collection_of(identity, request, representation)
            if collection is None:
                continue
            try:
                return select(collection, scope_of(request), self._clock())
            except SelectorError:
                return None
        return None

    def use(self, identity: str, request: RequestInfo) -> None:
        """Note that what a list request shows is in use, so that other things are evicted first."""
        selection = self._selection(identity, request)
        if selection is not None:
            selection.view.used = self._clock()

    def observe(
        self, identity: str, request: RequestInfo, changed: Callable[[Name, Item | None], None]
    ) -> dict[Name, Item]:
        """The objects that a list request selects. From now on ``changed`` is called after each event of a
        watch that continues the list, with the object's name and the object, None when it is gone.
        """
        for representation in accepted_representations(request)[:1]:
            collection = self._online.collection_of(identity, request, representation)
            if collection is not None:
                collection.view(scope_of(request)).observers.add(changed)
        found = self.members(identity, request)
        return {} if found is None else found[1]

    def newest(self) -> dict[tuple[str, str], int]:
        """The latest resourceVersion that any identity was shown of each resource, by group and name."""
        found: dict[tuple[str, str], int] = {}
        for collection in self._collections.all():
            resource = (collection.key.group, collection.key.resource)
            found[resource] = max(found.get(resource, 0), collection.newest)
        return found

    def cluster_restored(self, group: str, resource: str, end: int) -> None:
        """The cluster was restored from a backup: forget a resource that was shown at a version after
        ``end``.
        """
        for collection in self._collections.all():
            of = (collection.key.group, collection.key.resource)
            if of == (group, resource) and collection.newest > end:
                collection.reset()

    # -- offline

    def answer(self, identity: str, request: RequestInfo, none_match: str = "") -> Answer | WatchAnswer:
        """Answer without the cloud; ``none_match`` is the If-None-Match header."""
        self._online.drain(identity, request)
        if self._denials.denies(identity, request):
            return forbidden(request)
        return self._offline.answer(identity, request, none_match)

    # -- limits

    def evict(self) -> None:
        """Evict until the limits hold."""
        evict(self._collections.all(), self._documents, self._limits, self._commit)
        if self._collections.retire_empty():
            self._online.forget_retired()

    def save(self) -> None:
        """Commit everything again, for a store that lost it."""
        for collection in self._collections.all():
            collection.save()
        self._documents.save(self._commit)
        self._denials.save()

    # -- inspection

    def collections(self) -> list[Collection]:
        """Every collection."""
        return self._collections.all()

    def documents(self) -> list[tuple[str, str, records.DocumentHeader, bytes]]:
        """Every document: identity, path, header and body."""
        return self._documents.all()

    def measure(self) -> None:
        """Set the gauges."""
        collections = self._collections.all()
        metrics.OBJECTS.set(sum(len(collection.objects) for collection in collections))
        metrics.OBJECT_BYTES.set(sum(collection.size for collection in collections))
        metrics.VIEWS.set(sum(len(collection.views) for collection in collections))

    def status(self) -> list[dict[str, Any]]:
        """Every view with its age in seconds, for the status page."""
        now = self._clock()
        return [
            {
                "identity": collection.key.identity,
                "resource": qualified(collection.key.group, collection.key.resource),
                "representation": str(collection.key.representation),
                "namespace": view.scope.namespace,
                "labelSelector": view.scope.labels,
                "fieldSelector": view.scope.fields,
                "objects": len(view.members),
                "resourceVersion": view.version,
                "complete": view.complete,
                "age": round(now - view.updated, 1),
            }
            for collection in self._collections.all()
            for view in collection.views.values()
        ]
