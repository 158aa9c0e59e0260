"""Answers requests from the cache while the cloud is away. Pure."""

from __future__ import annotations

from collections.abc import Callable

from superedge.kube.errors import SelectorError
from superedge.kube.listoptions import refusal
from superedge.kube.media import JSON
from superedge.kube.objects import version_number
from superedge.kube.request import RequestInfo
from superedge.kube.status import not_found
from superedge.liteapiserver.cache.answers import (
    Answer,
    WatchAnswer,
    cloud_only,
    failure,
    not_cached,
    stale_headers,
    too_new,
)
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.documents import Documents
from superedge.liteapiserver.cache.index import CollectionIndex
from superedge.liteapiserver.cache.objects import CollectionKey
from superedge.liteapiserver.cache.representations import accepted_representations
from superedge.liteapiserver.cache.scopes import Name, Scope, object_name, scope_of
from superedge.liteapiserver.cache.selection import Selection, select


class OfflineReader:
    """Finds the answer to a request, or says what is not cached."""

    def __init__(
        self, collections: CollectionIndex, documents: Documents, clock: Callable[[], float]
    ) -> None:
        """``clock`` gives Unix time."""
        self._collections = collections
        self._documents = documents
        self._clock = clock

    def answer(self, identity: str, request: RequestInfo, none_match: str = "") -> Answer | WatchAnswer:
        """200, 304 for an ETag in ``none_match``, 404 when the object is known not to exist, else 503."""
        if not request.is_read and request.method != "HEAD":
            return cloud_only(request)
        if request.is_resource and not request.subresource:
            refused = refusal(request.verb, request.query)
            if refused is not None:
                return failure(refused.code, refused.message, refused.reason, outcome="refused")
            if request.name and request.verb == "get":
                return self._get(identity, request)
            return self._selection(identity, request)
        return self._document(identity, request, none_match=none_match) or not_cached(request)

    def _document(
        self, identity: str, request: RequestInfo, newer_than: int = -1, none_match: str = ""
    ) -> Answer | None:
        document = self._documents.get(identity, request)
        if document is None or version_number(document[0].version) < newer_than:
            return None
        header, body = document
        headers = stale_headers(header.content_type, self._clock() - header.updated)
        if header.etag:
            headers.append((b"ETag", header.etag.encode("latin-1", "replace")))
            headers.append((b"Vary", b"Accept"))
            tags = [tag.strip().removeprefix("W/") for tag in none_match.split(",")]
            if header.etag.removeprefix("W/") in tags or tags == ["*"]:
                return Answer(304, headers[1:], b"", "hit")
        return Answer(200, headers, body, "hit")

    def _accepted_collections(self, identity: str, request: RequestInfo) -> list[Collection]:
        """The collections in the representations that the client accepts, in its order of preference."""
        start = (identity, request.group, request.version, request.resource)
        found = [
            self._collections.get(CollectionKey(*start, representation))
            for representation in accepted_representations(request)
        ]
        return [collection for collection in found if collection is not None]

    def _get(self, identity: str, request: RequestInfo) -> Answer:
        name = object_name(request)
        best = known = -1
        found: Answer | None = None
        for collection in self._accepted_collections(identity, request):
            stored = collection.objects.get(name)
            if stored is not None:
                known = max(known, collection.last_seen(stored))
            if stored is not None and stored.number > best:
                codec = collection.codec
                item = stored.item
                kind = item.kind or collection.kind
                raw = codec.as_of(item.raw, self._clock())
                body = codec.encode_object(kind, item.api_version or collection.api_version, raw)
                content_type = collection.key.representation.media_type
                headers = stale_headers(content_type, self._clock() - stored.updated)
                best, found = stored.number, Answer(200, headers, body, "hit")
        absent_since = self._absent_since(identity, request, name)
        document = self._document(identity, request, max(best, absent_since))
        if document is not None:
            return document
        if absent_since >= 0:  # later than any object was shown
            body = not_found(request.group, request.resource, request.name)
            return Answer(404, stale_headers(JSON, 0), body, "hit")
        wanted = version_number(request.query.get("resourceVersion", ""))
        if found is not None and wanted > known > 0:
            return too_new(wanted, known)
        return found or not_cached(request)

    def _absent_since(self, identity: str, request: RequestInfo, name: Name) -> int:
        """The version at which a 404 or a complete view proves that an object does not exist; else -1.

        It proves nothing when another view or representation shows the object at this version or later, or
        when the object has left the scope of a view since, by a change or a deletion.
        """
        absent = -1
        one = f"metadata.name={request.name}"
        collections = self._collections.of(identity, request)
        for collection in collections:
            absent = max(absent, collection.absent.get(name, -1))
            for scope in (Scope(space, "", fields) for space in {"", name[0]} for fields in ("", one)):
                view = collection.views.get(scope)
                if view is not None and view.complete and name not in view.members:
                    absent = max(absent, view.number)
        if absent < 0:
            return -1
        shown = [each.last_seen(each.objects[name]) for each in collections if name in each.objects]
        left = [
            view.left_at(name)
            for each in collections
            for view in each.views.values()
            if view.tombstones and not view.scope.proves_deletion
        ]
        is_proven = absent > max(shown, default=-1) and absent >= max(left, default=-1)
        return absent if is_proven else -1

    def _selection(self, identity: str, request: RequestInfo) -> Answer | WatchAnswer:
        if request.query.get("continue"):
            message = "the continue token is from before the cloud was lost: list again from the start"
            return failure(410, message, outcome="hit")
        try:
            best = self._best(identity, request)
        except SelectorError as problem:
            return failure(400, str(problem), outcome="refused")
        if request.verb != "watch":
            table = self._document(identity, request, best.number if best is not None else -1)
            if table is not None:
                return table
        if best is None:
            return not_cached(request)
        best.view.used = self._clock()
        age = self._clock() - best.view.updated
        if request.verb == "watch":
            return _watch(request, best, age)
        return _list(request, best, age)

    def _best(self, identity: str, request: RequestInfo) -> Selection | None:
        """The view in the client's preferred representation, unless another is newer and differs.

        Raises SelectorError.
        """
        named = version_number(request.query.get("resourceVersion", ""))
        now = self._clock()
        best: Selection | None = None
        for collection in self._accepted_collections(identity, request):
            found = select(collection, scope_of(request), now)
            if found is None or (best is not None and found.number <= best.number):
                continue
            if best is None or best.number < named or not found.shows_the_same(best):
                best = found
        return best


def _list(request: RequestInfo, found: Selection, age: float) -> Answer:
    version = request.query.get("resourceVersion", "")
    match = request.query.get("resourceVersionMatch", "")
    number = version_number(version)
    if match == "Exact" and number != found.number:
        message = f"the cloud is unreachable, and the cache holds no list of version {version}"
        return failure(410, message, outcome="hit")
    if number > found.number > 0:
        return too_new(number, found.number)
    headers = stale_headers(found.collection.key.representation.media_type, age)
    return Answer(200, headers, found.list_body(), "hit")


def _watch(request: RequestInfo, found: Selection, age: float) -> Answer | WatchAnswer:
    version = request.query.get("resourceVersion", "")
    number = version_number(version)
    bookmarks = request.flag("allowWatchBookmarks")
    initial = request.flag("sendInitialEvents")
    position = found.view.version
    if initial:
        if number > found.number > 0:
            return too_new(number, found.number)
        frames = found.all_events()
    elif version in ("", "0"):
        frames = found.all_events()
    else:
        since = found.events_since(number)
        if since is None:
            return failure(410, f"too old resource version: {version} ({position})", outcome="hit")
        frames = since
        if number > found.number:
            position = version  # the client has seen more than the cache kept, and must not go back
    if bookmarks and (frames or initial):
        # The last event may have an earlier version, or a later one than other events that are not known.
        frames.append(found.bookmark(position, end=initial))
    return WatchAnswer(
        stale_headers(found.collection.key.representation.stream_type, age),
        frames,
        float(timeout) if (timeout := request.number("timeoutSeconds")) else None,
        found.bookmark(position) if bookmarks else None,
    )
