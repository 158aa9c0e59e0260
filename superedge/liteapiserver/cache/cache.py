"""The cache: `record` while the cloud answers, `answer` while it does not. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from twisted.logger import Logger

from superedge.interfaces import Entry
from superedge.kube.codecs import codec_for
from superedge.kube.errors import DecodeError, SelectorError
from superedge.kube.media import JSON, Representation, accepted, parse_media_type
from superedge.kube.objects import ListPage, version_number
from superedge.kube.request import RequestInfo
from superedge.kube.status import not_found
from superedge.liteapiserver import metrics
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.answers import (
    Answer,
    WatchAnswer,
    failure,
    refused,
    stale_headers,
    unknown,
)
from superedge.liteapiserver.cache.collection import Collection, CollectionKey, Commit, Name, Scope
from superedge.liteapiserver.cache.decoding import Decoder, decoder_for
from superedge.liteapiserver.cache.documents import Documents
from superedge.liteapiserver.cache.policy import Keep, Policy
from superedge.liteapiserver.cache.recorders import BodyRecorder, PagedLists, Recorder, WatchRecorder
from superedge.liteapiserver.cache.selection import Selection, select
from superedge.web.h1 import Headers, find

_log = Logger()


def scope_of(request: RequestInfo) -> Scope:
    """What a list or watch asks for; watching one name is watching that field."""
    fields = request.query.get("fieldSelector", "")
    if request.name and request.verb == "watch":
        fields = f"metadata.name={request.name}"
    return Scope(request.namespace, request.query.get("labelSelector", ""), fields)


def _is_consistent(request: RequestInfo) -> bool:
    return not request.query.get("resourceVersion")


class Cache:
    """What every identity read; none reads what another one brought.

    Args:
        policy: what is remembered.
        commit: makes one record durable, or deletes it.
        max_body: bytes of the largest answer that is remembered.
        clock: Unix time.
    """

    def __init__(
        self, policy: Policy, commit: Commit, max_body: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._policy = policy
        self._commit = commit
        self._max_body = max_body
        self._clock = clock
        self._collections: dict[CollectionKey, Collection] = {}
        self._documents = Documents(clock)
        self._pages = PagedLists()

    # -- from the store

    def restore(self, entries: Iterable[Entry]) -> None:
        """Take back what a store held. An entry that cannot be read is dropped alone."""
        objects: list[Entry] = []
        for entry in entries:
            if entry.kind == records.OBJECT:
                objects.append(entry)
            else:
                self._restore(entry)
        for entry in objects:  # after the views they belong to
            self._restore(entry)

    def _restore(self, entry: Entry) -> None:
        try:
            if entry.kind == records.DOCUMENT:
                self._documents.restore(entry.key, *records.unpack(records.DocumentHeader, entry.value))
                return
            if entry.kind not in (records.OBJECT, records.VIEW, records.ABSENT):
                return
            identity, group, version, resource, representation, *name = entry.key
            key = CollectionKey(identity, group, version, resource, parse_media_type(representation))
            collection = self._collection(key)
            if collection is None:
                raise DecodeError(f"{representation} is not read")
            if entry.kind == records.VIEW:
                header, _ = records.unpack(records.ViewHeader, entry.value)
                collection.restore_view(header)
            elif entry.kind == records.ABSENT:
                collection.absent[name[0], name[1]] = entry.value
            else:
                stored, raw = records.unpack(records.ObjectHeader, entry.value)
                collection.restore_object((name[0], name[1]), stored, raw)
        except (DecodeError, ValueError, IndexError) as problem:
            metrics.CORRUPT_ENTRIES.inc()
            _log.warn(
                "dropped the stored {kind} {key}: {problem}", kind=entry.kind, key=entry.key, problem=problem
            )
            self._commit(entry.kind, entry.key, None)

    # -- online

    def record(self, identity: str, request: RequestInfo, status: int, headers: Headers) -> Recorder | None:
        """A recorder for the body of an answer, None when it is not to be remembered."""
        keep = self._policy.keep(request)
        if keep is Keep.NOT or status not in (200, 404):
            return None
        decoder = decoder_for(find(headers, b"content-encoding"))
        if decoder is None:
            metrics.CACHE_FAULTS.labels("encoding").inc()
            return None
        content_type = find(headers, b"content-type").decode("latin-1")
        if status == 404:
            return self._record_absence(identity, request, decoder)
        commit = self._commit if keep is Keep.STORED else _in_memory
        representation = parse_media_type(content_type)
        codec = codec_for(representation) if request.is_resource and not request.subresource else None
        if codec is None:
            if request.verb == "watch":
                return None  # a Table: its list is kept as it was
            return BodyRecorder(
                request.path,
                decoder,
                self._max_body,
                lambda body: self._documents.put(identity, request, content_type, body, commit),
            )
        key = CollectionKey(identity, request.group, request.version, request.resource, representation)
        collection = self._collection(key, commit)
        assert collection is not None
        if request.verb == "watch":
            return self._record_watch(collection, request, decoder)
        if request.verb == "list":
            return self._record_list(collection, request, decoder)
        return BodyRecorder(
            request.path,
            decoder,
            self._max_body,
            lambda body: collection.put(collection.codec.decode_object(body)),
        )

    def _record_watch(self, collection: Collection, request: RequestInfo, decoder: Decoder) -> Recorder:
        view = collection.view(scope_of(request))
        initial = request.flag("sendInitialEvents")
        version = request.query.get("resourceVersion", "")
        if not initial and version not in ("", "0"):
            if not view.version:
                view.advance(version)
            elif version_number(version) > view.number:
                # Events between what is known and where this watch begins were not seen.
                collection.doubt(view)
                view.advance(version)
        return WatchRecorder(request.path, decoder, self._max_body, collection, view, initial)

    def _record_list(self, collection: Collection, request: RequestInfo, decoder: Decoder) -> Recorder | None:
        if request.query.get("resourceVersionMatch") == "Exact":
            return None  # a look into the past
        scope = scope_of(request)
        newest_before = collection.newest if _is_consistent(request) else None

        def finish(body: bytes) -> None:
            page = collection.codec.decode_list(body)
            self._listed(collection, scope, page, request.query.get("continue", ""), newest_before)

        return BodyRecorder(request.path, decoder, self._max_body, finish)

    def _listed(
        self, collection: Collection, scope: Scope, page: ListPage, token: str, newest_before: int | None
    ) -> None:
        items = page.items
        if token:
            before = self._pages.take(collection, scope, token)
            if before is None or before[1] != page.version:
                return  # its beginning was not seen, or the pages are of different moments
            items = before[0] + page.items
            newest_before = before[2]
        if page.token:
            self._pages.put(collection, scope, page, items, newest_before)
        else:
            collection.replace(scope, page._replace(items=items), newest_before)

    def _record_absence(self, identity: str, request: RequestInfo, decoder: Decoder) -> Recorder | None:
        if request.verb != "get" or not request.name or request.subresource or not _is_consistent(request):
            return None
        name = (request.namespace, request.name)
        if request.resource == "namespaces":
            name = ("", request.name)

        def finish(body: bytes) -> None:
            if b"NotFound" not in body:
                return  # no Status of an API server: the path may be unknown, or it is a proxy's page
            for key in self._keys(identity, request):
                collection = self._collections.get(key)
                if collection is not None:
                    collection.missing(name, body)
            fallback = CollectionKey(
                identity, request.group, request.version, request.resource, Representation(JSON)
            )
            collection = self._collection(fallback)
            assert collection is not None
            collection.missing(name, body)

        return BodyRecorder(request.path, decoder, self._max_body, finish)

    def _keys(self, identity: str, request: RequestInfo) -> list[CollectionKey]:
        """The collections of one resource, in every form."""
        wanted = (identity, request.group, request.version, request.resource)
        return [key for key in self._collections if key[:4] == wanted]

    def _collection(self, key: CollectionKey, commit: Commit | None = None) -> Collection | None:
        collection = self._collections.get(key)
        if collection is None:
            codec = codec_for(key.representation)
            if codec is None:
                return None
            if commit is None:
                stored = self._policy.for_resource(key.group, key.resource) is Keep.STORED
                commit = self._commit if stored else _in_memory
            collection = self._collections[key] = Collection(key, codec, commit, self._clock)
        return collection

    # -- offline

    def answer(self, identity: str, request: RequestInfo) -> Answer | WatchAnswer:
        """What can be said without the cloud. Always an answer: 200, 404 when that is proven, else 503."""
        if not request.is_read:
            return refused(request)
        if request.is_resource and not request.subresource:
            if request.verb == "get":
                return self._answer_get(identity, request)
            return self._answer_selection(identity, request)
        return self._answer_document(identity, request) or unknown(request)

    def _answer_document(self, identity: str, request: RequestInfo) -> Answer | None:
        document = self._documents.get(identity, request)
        if document is None:
            return None
        header, body = document
        age = self._clock() - header.updated
        return Answer(200, stale_headers(header.content_type, age), body, "hit")

    def _answer_get(self, identity: str, request: RequestInfo) -> Answer:
        namespace = "" if request.resource == "namespaces" else request.namespace
        name = (namespace, request.name)
        found: tuple[int, Answer] | None = None
        for representation in accepted(request.accept):
            key = CollectionKey(identity, request.group, request.version, request.resource, representation)
            collection = self._collections.get(key)
            stored = collection.objects.get(name) if collection else None
            if collection is None or stored is None:
                continue
            if found is None or stored.number > found[0]:
                kind = stored.kind or collection.kind
                version = stored.api_version or collection.api_version
                body = collection.codec.encode_object(kind, version, stored.raw)
                headers = stale_headers(representation.content_type, self._clock() - stored.updated)
                found = (stored.number, Answer(200, headers, body, "hit"))
        if found is not None:
            return found[1]
        document = self._answer_document(identity, request)
        if document is not None:
            return document
        if self._is_absent(identity, request, name):
            body = not_found(request.group, request.resource, request.name)
            return Answer(404, stale_headers(JSON, 0), body, "hit")
        return unknown(request)

    def _is_absent(self, identity: str, request: RequestInfo, name: Name) -> bool:
        """Whether a remembered 404 or a complete view proves that there is no such object."""
        collections = [self._collections[key] for key in self._keys(identity, request)]
        # What any form shows to exist exists.
        if any(name in collection.objects for collection in collections):
            return False
        one = f"metadata.name={request.name}"
        for collection in collections:
            if name in collection.absent:
                return True
            for namespace in {"", name[0]}:
                for fields in ("", one):
                    view = collection.views.get(Scope(namespace, "", fields))
                    if view is not None and view.complete:
                        return True
        return False

    def _answer_selection(self, identity: str, request: RequestInfo) -> Answer | WatchAnswer:
        if request.query.get("continue"):
            message = "the continue token is from before the cloud was lost: list again from the beginning"
            return failure(410, message, outcome="hit")
        best: Selection | None = None
        try:
            for representation in accepted(request.accept):
                key = CollectionKey(
                    identity, request.group, request.version, request.resource, representation
                )
                collection = self._collections.get(key)
                found = select(collection, scope_of(request)) if collection is not None else None
                if found is not None and (best is None or found.number > best.number):
                    best = found
        except SelectorError as problem:
            return failure(400, str(problem), outcome="refused")
        table = self._documents.get(identity, request) if request.verb == "list" else None
        if table is not None and (best is None or version_number(table[0].version) >= best.number):
            return self._answer_document(identity, request) or unknown(request)
        if best is None:
            return unknown(request)
        age = self._clock() - best.view.updated
        if request.verb == "list":
            headers = stale_headers(best.collection.key.representation.content_type, age)
            return Answer(200, headers, best.list_body(), "hit")
        return self._answer_watch(request, best, age)

    def _answer_watch(self, request: RequestInfo, found: Selection, age: float) -> Answer | WatchAnswer:
        version = request.query.get("resourceVersion", "")
        bookmarks = request.flag("allowWatchBookmarks")
        if request.flag("sendInitialEvents"):
            frames = [*found.all_events(), found.bookmark(end=True)]
        elif version in ("", "0"):
            frames = found.all_events()
        else:
            since = found.events_since(version_number(version))
            if since is None:
                return failure(
                    410, f"too old resource version: {version} ({found.view.version})", outcome="hit"
                )
            frames = since
        return WatchAnswer(
            stale_headers(found.collection.key.representation.stream_type, age),
            frames,
            float(timeout) if (timeout := request.number("timeoutSeconds")) else None,
            (lambda: found.bookmark(end=False)) if bookmarks else None,
        )

    # -- for people

    def measure(self) -> None:
        """Set the gauges."""
        collections = self._collections.values()
        metrics.OBJECTS.set(sum(len(collection.objects) for collection in collections))
        metrics.OBJECT_BYTES.set(sum(collection.size for collection in collections))
        metrics.VIEWS.set(sum(len(collection.views) for collection in collections))

    def status(self) -> list[dict[str, Any]]:
        """Every view with its age in seconds, for the status page."""
        now = self._clock()
        return [
            {
                "identity": collection.key.identity,
                "resource": ".".join(filter(None, (collection.key.resource, collection.key.group))),
                "representation": str(collection.key.representation),
                "namespace": view.scope.namespace,
                "labelSelector": view.scope.labels,
                "fieldSelector": view.scope.fields,
                "objects": len(view.members),
                "resourceVersion": view.version,
                "complete": view.complete,
                "age": round(now - view.updated, 1),
            }
            for collection in self._collections.values()
            for view in collection.views.values()
        ]


def _in_memory(_kind: str, _key: tuple[str, ...], _value: bytes | None) -> None:
    """The commit of what must not reach the store."""
