"""The cache: `record` while the cloud answers, `answer` while it does not. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from twisted.logger import Logger

from superedge.interfaces import Entry
from superedge.kube.media import JSON, Representation
from superedge.kube.memo import LONGEST
from superedge.kube.objects import ListPage, version_number
from superedge.kube.request import RequestInfo, qualified
from superedge.liteapiserver import metrics
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.absences import Absences
from superedge.liteapiserver.cache.answering import Answering
from superedge.liteapiserver.cache.answers import Answer, WatchAnswer, forbidden
from superedge.liteapiserver.cache.asked import Asked
from superedge.liteapiserver.cache.backlog import LONG, Backlog
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.decoding import Decoder, IdentityDecoder, decoder_for
from superedge.liteapiserver.cache.denials import Denials
from superedge.liteapiserver.cache.documents import Documents
from superedge.liteapiserver.cache.forms import actual_form, expected_form, wanted_forms
from superedge.liteapiserver.cache.index import CollectionIndex
from superedge.liteapiserver.cache.limits import Limits, trim
from superedge.liteapiserver.cache.objects import CollectionKey
from superedge.liteapiserver.cache.policy import Keep, Policy
from superedge.liteapiserver.cache.recorders import (
    BodyRecorder,
    Gathered,
    PagedLists,
    Recorder,
    WatchRecorder,
)
from superedge.liteapiserver.cache.records import Commit
from superedge.liteapiserver.cache.restoring import restore
from superedge.liteapiserver.cache.scopes import Name, Scope, object_name, scope_of
from superedge.liteapiserver.cache.writes import Writes, changes_objects

_log = Logger()

Question = tuple[str, frozenset[tuple[str, str]], str]
"""What tells two lists apart: path, parameters and Accept."""


_Reading = tuple[str, str, str, str, str, bytes]
"""Identity, group, version, resource, Accept and Content-Type of an object that was asked for."""
_MAX_READINGS = 1024


def _question(request: RequestInfo) -> Question:
    return request.path, frozenset(request.query.items()), request.accept


class Cache:
    """What every identity read; none reads what another one brought.

    Args:
        policy: what is remembered.
        commit: makes one record durable, or deletes it.
        max_body: bytes of the largest answer that is remembered, and of those of one identity that are on
            their way together.
        limits: what `trim` leaves.
        clock: Unix time.
        backlog: where long lists wait to be decoded; without one they do not wait.
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
        self._policy = policy
        self._commit = commit
        self._max_body = max_body
        self._limits = limits
        self._clock = clock
        self._backlog = backlog
        self._collections = CollectionIndex(policy, commit, clock)
        self._documents = Documents(clock)
        self._pages = PagedLists(max_body)
        self._gathered = Gathered(max_body)
        self._absences = Absences(self._collections, self._documents, commit)
        self._denials = Denials(self._collections, self._documents, commit)
        self._answering = Answering(self._collections, self._documents, clock)
        self._writes = Writes(self._collections, self._documents, commit)
        self._readings: dict[_Reading, Collection | None] = {}

    def restore(self, entries: list[Entry]) -> None:
        """Take back what a store held. An entry that cannot be read is dropped alone.

        ``entries`` is emptied on the way: nothing large is there twice.
        """
        restore(entries, self._collections, self._documents, self._denials, self._commit)

    # -- online

    def asked(self, identity: str, request: RequestInfo) -> Asked:
        """What is known when a request is about to be sent; what comes meanwhile may be newer."""
        forms = self._collections.of(identity, request)
        reached = 0
        for form in forms:
            reached = max(reached, form.newest)
        turn = self._backlog.turn if self._backlog is not None else 0
        newest: int | None = None
        if request.query.get("resourceVersion"):
            turn = -1  # it may be older than what was put there before
        elif request.verb == "get":
            newest, name = 0, object_name(request)
            for form in forms:
                stored = form.objects.get(name)
                if stored is not None and stored.number > newest:
                    newest = stored.number
        elif request.verb == "list" or request.flag("sendInitialEvents"):
            scope = scope_of(request)
            newest = max([form.newest_for(scope) for form in forms], default=0)
        return Asked(newest, reached, turn)

    def record(
        self,
        identity: str,
        request: RequestInfo,
        status: int,
        content_type: bytes,
        encoding: bytes,
        etag: bytes,
        audited: bool,
        asked: Asked,
    ) -> Recorder | None:
        """A recorder for the body of an answer, None when it is not to be remembered.

        ``content_type``, ``encoding`` and ``etag`` are the answer's headers, empty when absent; ``audited``
        is whether it has an Audit-Id, which an API server gives every answer and nothing before it does;
        ``asked`` is what the method of that name said when the request was sent.
        """
        if status in (200, 304, 404):
            self._denials.allow(identity, request)
        if status == 200 and request.is_object:
            collection = self._reading(identity, request, content_type)
            decoder = decoder_for(encoding)
            if collection is not None and decoder is not None:
                self._settle(identity, request)
                take = partial(self._take_object, collection, object_name(request), asked.newest)
                return BodyRecorder(request.path, decoder, self._gathered, identity, take)
        keep = self._policy.keep(request)
        if keep is Keep.NOT:
            return None
        question = _question(request) if request.verb == "list" else None
        self._settle(identity, request, question)
        if status == 304:
            self._documents.confirm(identity, request, etag.decode("latin-1"))
        if status == 403 and audited:
            self._settle(identity, request)
            self._denials.deny(identity, request)
        if status not in (200, 404):
            return None
        decoder = decoder_for(encoding)
        if decoder is None:
            metrics.CACHE_FAULTS.labels("encoding").inc()
            return None
        if status == 404:
            finish_absence = self._absences.finish(identity, request, asked.reached, audited)
            if finish_absence is None:
                return None
            return BodyRecorder(request.path, decoder, self._gathered, identity, finish_absence)
        label = content_type.decode("latin-1")
        form = expected_form(request, label)
        if request.verb == "watch":
            collection = self._collection_of(identity, request, form)
            if collection is None:
                return None
            return self._record_watch(collection, request, decoder, asked.newest)

        def finish(body: bytes) -> None:
            kind = label
            if request.is_resource and not request.subresource:
                actual = actual_form(form, body)
                collection = self._collection_of(identity, request, actual)
                if collection is not None:
                    if request.verb == "get":
                        self._take_object(collection, object_name(request), asked.newest, body)
                    else:
                        self._take_list(collection, request, body, asked.newest)
                    return
                self._found(identity, request)
                kind = str(actual)
            commit = self._collections.commit_for(keep)
            self._documents.put(identity, request, kind, etag.decode("latin-1"), body, commit)

        defer = (
            partial(self._defer, identity, request, question, asked.turn) if question is not None else None
        )
        return BodyRecorder(request.path, decoder, self._gathered, identity, finish, defer)

    def _reading(self, identity: str, request: RequestInfo, content_type: bytes) -> Collection | None:
        """The collection of an object that was asked for, if its form is known before its body is."""
        reading = (
            identity,
            request.group,
            request.version,
            request.resource,
            request.accept,
            content_type,
        )
        try:
            return self._readings[reading]
        except KeyError:
            pass
        found: Collection | None = None
        form = expected_form(request, content_type.decode("latin-1"))
        if not form.kind and self._policy.keep(request) is not Keep.NOT:
            found = self._collection_of(identity, request, form)
        if len(self._readings) >= _MAX_READINGS:
            self._readings.clear()
        if sum(map(len, reading)) <= LONGEST:
            self._readings[reading] = found
        return found

    def _defer(
        self,
        identity: str,
        request: RequestInfo,
        question: Question,
        replaced: int,
        size: int,
        take: Callable[[], None],
    ) -> None:
        """Take a list in a quiet moment, unless it is short or a watch goes on from what it replaces."""
        backlog = self._backlog
        if backlog is None or size < LONG or self._is_watched(identity, request):
            take()
        else:
            backlog.put((identity, request.group, request.resource), question, size, take, replaced)

    def _is_watched(self, identity: str, request: RequestInfo) -> bool:
        collections = self._collections.of(identity, request)
        return any(view.watchers for collection in collections for view in collection.views.values())

    def _settle(self, identity: str, request: RequestInfo, but: Question | None = None) -> None:
        """Take what waits of the request's resource, in its order with what comes now."""
        if self._backlog is not None and self._backlog.waiting:
            self._backlog.settle((identity, request.group, request.resource), but)

    def _collection_of(self, identity: str, request: RequestInfo, form: Representation) -> Collection | None:
        key = CollectionKey(identity, request.group, request.version, request.resource, form)
        return self._collections.make(key)

    def _found(self, identity: str, request: RequestInfo) -> None:
        """An object was shown in a form that is kept whole: a 404 from before no longer counts."""
        for collection in self._collections.of(identity, request):
            collection.found(*object_name(request))

    def _take_object(
        self, collection: Collection, name: Name, newest_before: int | None, body: bytes
    ) -> None:
        if collection.retired:  # while the answer was on its way
            collection = cast(Collection, self._collections.make(collection.key))
        stored = collection.objects.get(name)
        if stored is not None and stored.item.raw == body:
            stored.updated = self._clock()  # as it was: not worth decoding
        else:
            collection.take(collection.decode_object(body), newest_before)

    def _take_list(
        self,
        collection: Collection,
        request: RequestInfo,
        body: bytes,
        newest_before: int | None,
    ) -> None:
        if request.query.get("resourceVersionMatch") == "Exact":
            return  # a look into the past
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
                return  # its beginning was not seen, or the pages are of different moments
            newest_before = before.newest_before
        if page.token:
            self._pages.put(collection, scope, page, before, newest_before)
        else:
            items = page.items if before is None else before.items + page.items
            collection.replace(scope, page._replace(items=items), newest_before)

    def position(self, identity: str, request: RequestInfo) -> str:
        """The version from which a watch may go on that follows exactly what a list asks for; empty when
        it has to be listed.
        """
        self._settle(identity, request)
        for form in wanted_forms(request)[:1]:
            collection = self._collection_of(identity, request, form)
            view = collection.views.get(scope_of(request)) if collection is not None else None
            if view is not None and view.complete and not view.expired:
                return view.version
        return ""

    def known(self, identity: str, request: RequestInfo, name: Name) -> bytes | None:
        """An object of the resource that a request is about, as plain JSON; None when it is not known so."""
        form = Representation(JSON)
        key = CollectionKey(identity, request.group, request.version, request.resource, form)
        collection = self._collections.get(key)
        stored = collection.objects.get(name) if collection is not None else None
        if collection is None or stored is None:
            return None
        item = stored.item
        kind, api_version = item.kind or collection.kind, item.api_version or collection.api_version
        return collection.codec.encode_object(kind, api_version, item.raw)

    def newest(self) -> dict[tuple[str, str], int]:
        """The latest version of each resource, by group and name, that any identity was shown in any form."""
        found: dict[tuple[str, str], int] = {}
        for collection in self._collections.all():
            resource = (collection.key.group, collection.key.resource)
            found[resource] = max(found.get(resource, 0), collection.newest)
        return found

    def went_back(self, group: str, resource: str, end: int) -> None:
        """The cluster was restored from a backup: what was shown of a resource after ``end`` never was."""
        for collection in self._collections.all():
            of = (collection.key.group, collection.key.resource)
            if of == (group, resource) and collection.newest > end:
                collection.begin_anew()

    def record_write(
        self,
        identity: str,
        request: RequestInfo,
        content_type: bytes,
        encoding: bytes,
        asked: Asked,
        is_dry_run: Callable[[], bool],
    ) -> Recorder | None:
        """A recorder for the body of an answer that says that a write succeeded, None when it tells nothing.

        The arguments are as for `record`; ``is_dry_run`` is whether the request's body says that it is.
        """
        if not changes_objects(request) or not self._collections.of(identity, request):
            return None

        def taken(take: Callable[[], None]) -> None:
            if not is_dry_run():
                self._settle(identity, request)
                take()

        label = content_type.decode("latin-1")
        writes = self._writes
        return BodyRecorder(
            request.path,
            decoder_for(encoding) or IdentityDecoder(),
            self._gathered,
            identity,
            lambda body: taken(partial(writes.take, identity, request, asked, label, body)),
            lost=lambda: taken(partial(writes.unknown, identity, request, asked)),
            cut=lambda: taken(partial(writes.doubt_absence, identity, request)),
        )

    # -- offline

    def answer(self, identity: str, request: RequestInfo, none_match: str = "") -> Answer | WatchAnswer:
        """What can be said without the cloud; ``none_match`` is the header If-None-Match."""
        self._settle(identity, request)
        if self._denials.denies(identity, request):
            return forbidden(request)
        return self._answering.answer(identity, request, none_match)

    # -- limits

    def trim(self) -> None:
        """Forget what was used least lately, until the limits hold again."""
        trim(self._collections.all(), self._documents, self._limits, self._commit)
        if self._collections.retire_empty():
            self._readings.clear()

    def save(self) -> None:
        """Write down everything once more, for a store that lost it."""
        for collection in self._collections.all():
            collection.save()
        self._documents.save(self._commit)
        self._denials.save()

    # -- for people

    def collections(self) -> list[Collection]:
        """What is remembered by object."""
        return self._collections.all()

    def documents(self) -> list[tuple[str, str, records.DocumentHeader, bytes]]:
        """What is remembered whole: identity, path, header and body."""
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
