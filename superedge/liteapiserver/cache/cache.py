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
from superedge.kube.request import RequestInfo, qualified
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
from superedge.liteapiserver.cache.forms import actual_form, expected_form
from superedge.liteapiserver.cache.limits import Limits, trim
from superedge.liteapiserver.cache.policy import Keep, Policy
from superedge.liteapiserver.cache.recorders import BodyRecorder, PagedLists, Recorder, WatchRecorder
from superedge.liteapiserver.cache.selection import Selection, select

_log = Logger()


def scope_of(request: RequestInfo) -> Scope:
    """What a list or watch asks for; watching one name is watching that field."""
    fields = request.query.get("fieldSelector", "")
    if request.name and request.verb == "watch":
        fields = f"metadata.name={request.name}"
    return Scope(request.namespace, request.query.get("labelSelector", ""), fields)


def _name(request: RequestInfo) -> Name:
    """Where the object of a get is; a namespace is in none."""
    return ("" if request.resource == "namespaces" else request.namespace, request.name)


def _is_consistent(request: RequestInfo) -> bool:
    return not request.query.get("resourceVersion")


class Cache:
    """What every identity read; none reads what another one brought.

    Args:
        policy: what is remembered.
        commit: makes one record durable, or deletes it.
        max_body: bytes of the largest answer that is remembered.
        limits: what `trim` leaves.
        clock: Unix time.
    """

    def __init__(
        self,
        policy: Policy,
        commit: Commit,
        max_body: int,
        limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._policy = policy
        self._commit = commit
        self._max_body = max_body
        self._limits = limits
        self._clock = clock
        self._collections: dict[CollectionKey, Collection] = {}
        # The keys of one identity's resource, one for each form.
        self._forms: dict[tuple[str, str, str, str], list[CollectionKey]] = {}
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

    def record(
        self, identity: str, request: RequestInfo, status: int, content_type: bytes, encoding: bytes
    ) -> Recorder | None:
        """A recorder for the body of an answer, None when it is not to be remembered.

        ``content_type`` and ``encoding`` are the answer's headers, empty when absent.
        """
        keep = self._policy.keep(request)
        if keep is Keep.NOT or status not in (200, 404):
            return None
        decoder = decoder_for(encoding)
        if decoder is None:
            metrics.CACHE_FAULTS.labels("encoding").inc()
            return None
        if status == 404:
            return self._record_absence(identity, request, decoder)
        label = content_type.decode("latin-1")
        form = expected_form(request.accept, label)
        if request.verb == "watch":
            collection = self._collection_of(identity, request, form)
            # A Table's list is kept as it was.
            return self._record_watch(collection, request, decoder) if collection is not None else None
        newest_before: dict[CollectionKey, int] | None = None
        if request.verb == "list" and _is_consistent(request):
            newest_before = self._newest(identity, request)

        def finish(body: bytes) -> None:
            if request.is_resource and not request.subresource:
                actual = actual_form(form, body)
                collection = self._collection_of(identity, request, actual)
                if collection is not None:
                    self._take(collection, request, body, newest_before)
                    return
                self._found(identity, request)
                self._documents.put(identity, request, str(actual), body, self._commit_for(keep))
            else:
                self._documents.put(identity, request, label, body, self._commit_for(keep))

        return BodyRecorder(request.path, decoder, self._max_body, finish)

    def _commit_for(self, keep: Keep) -> Commit:
        return self._commit if keep is Keep.STORED else _in_memory

    def _collection_of(self, identity: str, request: RequestInfo, form: Representation) -> Collection | None:
        key = CollectionKey(identity, request.group, request.version, request.resource, form)
        return self._collection(key)

    def _newest(self, identity: str, request: RequestInfo) -> dict[CollectionKey, int]:
        """The newest version known in each form, before a consistent answer is on its way."""
        return {key: self._collections[key].newest for key in self._keys(identity, request)}

    def _found(self, identity: str, request: RequestInfo) -> None:
        """An object was shown in a form that is kept whole: a 404 from before no longer counts."""
        for key in self._keys(identity, request):
            self._collections[key].found(*_name(request))

    def _take(
        self,
        collection: Collection,
        request: RequestInfo,
        body: bytes,
        newest_before: dict[CollectionKey, int] | None,
    ) -> None:
        if request.verb == "get":
            collection.put(collection.codec.decode_object(body))
            return
        if request.query.get("resourceVersionMatch") == "Exact":
            return  # a look into the past
        page = collection.codec.decode_list(body)
        before = None if newest_before is None else newest_before.get(collection.key, 0)
        self._listed(collection, scope_of(request), page, request.query.get("continue", ""), before)

    def _record_watch(self, collection: Collection, request: RequestInfo, decoder: Decoder) -> Recorder:
        view = collection.view(scope_of(request))
        view.used = self._clock()
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

        def finish(body: bytes) -> None:
            if b"NotFound" not in body:
                return  # no Status of an API server: the path may be unknown, or it is a proxy's page
            self._collection_of(identity, request, Representation(JSON))  # so that one form remembers it
            for key in self._keys(identity, request):
                self._collections[key].missing(_name(request), body)
            self._documents.forget(identity, request, self._commit)

        return BodyRecorder(request.path, decoder, self._max_body, finish)

    def _keys(self, identity: str, request: RequestInfo) -> list[CollectionKey]:
        """The collections of one resource, in every form."""
        return self._forms.get((identity, request.group, request.version, request.resource), [])

    def _collection(self, key: CollectionKey) -> Collection | None:
        """The collection of a key, made when it is new; None when its form is not read."""
        collection = self._collections.get(key)
        if collection is None:
            codec = codec_for(key.representation)
            if codec is None:
                return None
            commit = self._commit_for(self._policy.for_resource(key.group, key.resource))
            collection = self._collections[key] = Collection(key, codec, commit, self._clock)
            self._forms.setdefault(key[:4], []).append(key)
        return collection

    def wrote(self, identity: str, request: RequestInfo) -> None:
        """A write succeeded: what was missing may be there now."""
        for key in self._keys(identity, request):
            self._collections[key].found(request.namespace, request.name)

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

    def _answer_document(self, identity: str, request: RequestInfo, newer_than: int = -1) -> Answer | None:
        document = self._documents.get(identity, request)
        if document is None or version_number(document[0].version) < newer_than:
            return None
        header, body = document
        age = self._clock() - header.updated
        return Answer(200, stale_headers(header.content_type, age), body, "hit")

    def _answer_get(self, identity: str, request: RequestInfo) -> Answer:
        name = _name(request)
        best = -1
        found: Answer | None = None
        for representation in accepted(request.accept):
            key = CollectionKey(identity, request.group, request.version, request.resource, representation)
            collection = self._collections.get(key)
            stored = collection.objects.get(name) if collection else None
            if collection is not None and stored is not None and stored.number > best:
                kind = stored.kind or collection.kind
                version = stored.api_version or collection.api_version
                body = collection.codec.encode_object(kind, version, stored.raw)
                headers = stale_headers(representation.content_type, self._clock() - stored.updated)
                best, found = stored.number, Answer(200, headers, body, "hit")
        if found is not None:
            return self._answer_document(identity, request, best) or found
        absent_since = self._absent_since(identity, request, name)
        document = self._answer_document(identity, request, -1 if absent_since is None else absent_since)
        if document is not None:
            return document
        if absent_since is not None:
            body = not_found(request.group, request.resource, request.name)
            return Answer(404, stale_headers(JSON, 0), body, "hit")
        return unknown(request)

    def _absent_since(self, identity: str, request: RequestInfo, name: Name) -> int | None:
        """The version at which a 404 or a complete view proves that there is no such object; else None."""
        collections = [self._collections[key] for key in self._keys(identity, request)]
        # What any form shows to exist exists.
        if any(name in collection.objects for collection in collections):
            return None
        proofs: list[int] = []
        one = f"metadata.name={request.name}"
        for collection in collections:
            if name in collection.absent:
                proofs.append(collection.newest)
            for scope in (Scope(space, "", fields) for space in {"", name[0]} for fields in ("", one)):
                view = collection.views.get(scope)
                if view is not None and view.complete:
                    proofs.append(view.number)
        return max(proofs) if proofs else None

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
        if request.verb == "list":
            table = self._answer_document(identity, request, best.number if best is not None else -1)
            if table is not None:
                return table
        if best is None:
            return unknown(request)
        best.view.used = self._clock()
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

    # -- limits

    def trim(self) -> None:
        """Forget what was used least lately, until the limits hold again."""
        trim(self._collections.values(), self._documents, self._limits, self._commit)

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
            for collection in self._collections.values()
            for view in collection.views.values()
        ]


def _in_memory(_kind: str, _key: tuple[str, ...], _value: bytes | None) -> None:
    """The commit of what must not reach the store."""
