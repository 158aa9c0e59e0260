"""Records the cloud's responses into the cache. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from superedge.kube.media import Representation
from superedge.kube.memo import MAX_CACHED
from superedge.kube.objects import ListPage, version_number
from superedge.kube.request import RequestInfo
from superedge.liteapiserver import metrics
from superedge.liteapiserver.cache.absences import Absences
from superedge.liteapiserver.cache.backlog import MIN_SIZE, Backlog
from superedge.liteapiserver.cache.baseline import Baseline
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.decoding import Decoder, IdentityDecoder, decoder_for
from superedge.liteapiserver.cache.denials import Denials
from superedge.liteapiserver.cache.documents import Documents
from superedge.liteapiserver.cache.index import CollectionIndex
from superedge.liteapiserver.cache.objects import CollectionKey
from superedge.liteapiserver.cache.policy import Keep, Policy
from superedge.liteapiserver.cache.recorders import (
    BodyRecorder,
    PagedLists,
    PendingBytes,
    Recorder,
    WatchRecorder,
)
from superedge.liteapiserver.cache.records import Commit
from superedge.liteapiserver.cache.representations import actual_representation, expected_representation
from superedge.liteapiserver.cache.scopes import Name, Scope, object_name, scope_of
from superedge.liteapiserver.cache.writes import Writes, changes_objects

ListQuery = tuple[str, frozenset[tuple[str, str]], str]
"""The path, parameters and Accept of a list; equal queries replace each other in the backlog."""


_ReadKey = tuple[str, str, str, str, str, bytes]
"""Identity, group, version, resource, Accept and Content-Type of a get."""
_MAX_READ_COLLECTIONS = 1024


def _list_query(request: RequestInfo) -> ListQuery:
    return request.path, frozenset(request.query.items()), request.accept


class OnlineRecorder:
    """Makes a recorder for each response. The arguments are those of `Cache`."""

    def __init__(
        self,
        collections: CollectionIndex,
        documents: Documents,
        denials: Denials,
        policy: Policy,
        commit: Commit,
        max_body: int,
        clock: Callable[[], float],
        backlog: Backlog | None,
    ) -> None:
        self._collections = collections
        self._documents = documents
        self._denials = denials
        self._policy = policy
        self._max_body = max_body
        self._clock = clock
        self._backlog = backlog
        self._pages = PagedLists(max_body)
        self._pending = PendingBytes(max_body)
        self._absences = Absences(collections, documents, commit)
        self._writes = Writes(collections, documents, commit)
        self._read_collections: dict[_ReadKey, Collection | None] = {}

    def baseline(self, identity: str, request: RequestInfo) -> Baseline:
        """Which versions are known when a request is about to be sent."""
        if request.is_read:
            collections = self._collections.of(identity, request)
        else:
            collections = self._collections.of_any_version(identity, request)
        reached = 0
        for each in collections:
            reached = max(reached, each.newest)
        sequence = self._backlog.sequence if self._backlog is not None else 0
        newest: int | None = None
        if request.query.get("resourceVersion"):
            sequence = -1  # the response may be older than one that waits
        elif request.verb == "get":
            newest, name = 0, object_name(request)
            for each in collections:
                stored = each.objects.get(name)
                if stored is not None and stored.number > newest:
                    newest = stored.number
        elif request.verb == "list" or request.flag("sendInitialEvents"):
            scope = scope_of(request)
            newest = max([each.newest_for(scope) for each in collections], default=0)
        return Baseline(newest, reached, sequence)

    def record(
        self,
        identity: str,
        request: RequestInfo,
        status: int,
        content_type: bytes,
        encoding: bytes,
        etag: bytes,
        audited: bool,
        baseline: Baseline,
    ) -> Recorder | None:
        """A recorder for the body of a response; None for a response that is not cached.

        ``content_type``, ``encoding`` and ``etag`` are the response's headers, empty when absent. ``audited``
        says whether it has an Audit-Id, as every response of an API server has and no response of something
        before it. ``baseline`` is what `baseline` returned before the request was sent.
        """
        if status in (200, 304, 404):
            self._denials.allow(identity, request)
        if status == 200 and request.is_object:
            collection = self._collection_for_get(identity, request, content_type)
            decoder = decoder_for(encoding)
            if collection is not None and decoder is not None:
                self.drain(identity, request)
                take = partial(self._take_object, collection, object_name(request), baseline.newest)
                return BodyRecorder(request.path, decoder, self._pending, identity, take)
        keep = self._policy.keep(request)
        if keep is Keep.SKIP:
            return None
        query = _list_query(request) if request.verb == "list" else None
        self.drain(identity, request, query)
        if status == 304:
            self._documents.confirm(identity, request, etag.decode("latin-1"))
        if status == 403 and audited:
            self.drain(identity, request)
            self._denials.deny(identity, request)
        if status not in (200, 404):
            return None
        decoder = decoder_for(encoding)
        if decoder is None:
            metrics.CACHE_FAULTS.labels("encoding").inc()
            return None
        if status == 404:
            finish_absence = self._absences.finish(identity, request, baseline.reached, audited)
            if finish_absence is None:
                return None
            return BodyRecorder(request.path, decoder, self._pending, identity, finish_absence)
        label = content_type.decode("latin-1")
        representation = expected_representation(request, label)
        if request.verb == "watch":
            collection = self.collection_of(identity, request, representation)
            if collection is None:
                return None
            return self._record_watch(collection, request, decoder, baseline.newest)

        def finish(body: bytes) -> None:
            kind = label
            if request.is_resource and not request.subresource:
                actual = actual_representation(representation, body)
                collection = self.collection_of(identity, request, actual)
                if collection is not None:
                    if request.verb == "get":
                        self._take_object(collection, object_name(request), baseline.newest, body)
                    else:
                        self._take_list(collection, request, body, baseline.newest)
                    return
                self._clear_absence(identity, request)
                kind = str(actual)
            commit = self._collections.commit_for(keep)
            self._documents.put(identity, request, kind, etag.decode("latin-1"), body, commit)

        defer = (
            partial(self._defer, identity, request, query, baseline.sequence) if query is not None else None
        )
        return BodyRecorder(request.path, decoder, self._pending, identity, finish, defer)

    def _collection_for_get(
        self, identity: str, request: RequestInfo, content_type: bytes
    ) -> Collection | None:
        """The collection that a get's object belongs to, if the representation is known before the body."""
        reading = (
            identity,
            request.group,
            request.version,
            request.resource,
            request.accept,
            content_type,
        )
        try:
            return self._read_collections[reading]
        except KeyError:
            pass
        found: Collection | None = None
        representation = expected_representation(request, content_type.decode("latin-1"))
        if not representation.kind and self._policy.keep(request) is not Keep.SKIP:
            found = self.collection_of(identity, request, representation)
        if len(self._read_collections) >= _MAX_READ_COLLECTIONS:
            self._read_collections.clear()
        if sum(map(len, reading)) <= MAX_CACHED:
            self._read_collections[reading] = found
        return found

    def _defer(
        self,
        identity: str,
        request: RequestInfo,
        query: ListQuery,
        replaced: int,
        size: int,
        take: Callable[[], None],
    ) -> None:
        """Apply a list later, unless it is short or a watch keeps a view of the resource up to date."""
        backlog = self._backlog
        if backlog is None or size < MIN_SIZE or self._has_watch(identity, request):
            take()
        else:
            backlog.put((identity, request.group, request.resource), query, size, take, replaced)

    def _has_watch(self, identity: str, request: RequestInfo) -> bool:
        collections = self._collections.of(identity, request)
        return any(view.watchers for collection in collections for view in collection.views.values())

    def drain(self, identity: str, request: RequestInfo, except_for: ListQuery | None = None) -> None:
        """Apply the responses that wait for the request's resource, before a later one is applied."""
        if self._backlog is not None and self._backlog.waiting:
            self._backlog.drain((identity, request.group, request.resource), except_for)

    def collection_of(
        self, identity: str, request: RequestInfo, representation: Representation
    ) -> Collection | None:
        """The collection of a request's resource in one representation; None when that is not decoded."""
        key = CollectionKey(identity, request.group, request.version, request.resource, representation)
        return self._collections.make(key)

    def _clear_absence(self, identity: str, request: RequestInfo) -> None:
        """An object is cached as a document: forget an earlier 404."""
        for collection in self._collections.of(identity, request):
            collection.clear_absence(*object_name(request))

    def _take_object(
        self, collection: Collection, name: Name, newest_before: int | None, body: bytes
    ) -> None:
        if collection.retired:  # while the response was under way
            collection = cast(Collection, self._collections.make(collection.key))
        stored = collection.objects.get(name)
        if stored is not None and stored.item.raw == body:
            stored.updated = self._clock()  # unchanged, so it need not be decoded
        else:
            collection.apply_get(collection.decode_object(body), newest_before)

    def _take_list(
        self,
        collection: Collection,
        request: RequestInfo,
        body: bytes,
        newest_before: int | None,
    ) -> None:
        if request.query.get("resourceVersionMatch") == "Exact":
            return  # a list of the past
        scope = scope_of(request)
        page = collection.decode_list(scope, body)
        self._listed(collection, scope, page, request.query.get("continue", ""), newest_before)

    def _record_watch(
        self, collection: Collection, request: RequestInfo, decoder: Decoder, newest_before: int | None
    ) -> Recorder:
        view = collection.view(scope_of(request))
        view.used = self._clock()
        initial = request.flag("sendInitialEvents")
        version = request.query.get("resourceVersion", "")
        start = None if initial or version in ("", "0") else version_number(version)
        if start is not None and not view.complete:
            view.advance(version)
        return WatchRecorder(
            request.path, decoder, self._max_body, collection, view, initial, start, newest_before
        )

    def _listed(
        self, collection: Collection, scope: Scope, page: ListPage, token: str, newest_before: int | None
    ) -> None:
        before = None
        if token:
            before = self._pages.take(collection, scope, token)
            if before is None or before.version != page.version:
                return  # the first page was not seen, or the pages are of different versions
            newest_before = before.newest_before
        if page.token:
            self._pages.put(collection, scope, page, before, newest_before)
        else:
            items = page.items if before is None else before.items + page.items
            collection.replace(scope, page._replace(items=items), newest_before)

    def record_write(
        self,
        identity: str,
        request: RequestInfo,
        content_type: bytes,
        encoding: bytes,
        baseline: Baseline,
        is_dry_run: Callable[[], bool],
    ) -> Recorder | None:
        """A recorder for the body of the response to a successful write; None when nothing cached is
        affected.

        The arguments are those of `record`; ``is_dry_run`` tells whether the request's body asks for a dry
        run.
        """
        if not changes_objects(request) or not self._collections.of_any_version(identity, request):
            return None

        def apply(change: Callable[[], None]) -> None:
            if not is_dry_run():
                self.drain(identity, request)
                change()

        label = content_type.decode("latin-1")
        writes = self._writes
        return BodyRecorder(
            request.path,
            decoder_for(encoding) or IdentityDecoder(),
            self._pending,
            identity,
            lambda body: apply(partial(writes.apply, identity, request, baseline, label, body)),
            lost=lambda: apply(partial(writes.invalidate, identity, request, baseline)),
            cut=lambda: apply(partial(writes.clear_absence, identity, request)),
        )

    def forget_retired(self) -> None:
        """Drop references to collections that were retired."""
        self._read_collections.clear()
