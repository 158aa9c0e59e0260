"""Applies the responses to a client's own writes to what it has read. Pure."""

from __future__ import annotations

from superedge.kube.codecs import kind_of
from superedge.kube.deletion import deleted_uid
from superedge.kube.media import JSON, Representation
from superedge.kube.objects import Item, version_number
from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache.baseline import Baseline
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.documents import Documents
from superedge.liteapiserver.cache.index import CollectionIndex
from superedge.liteapiserver.cache.objects import CollectionKey
from superedge.liteapiserver.cache.records import Commit
from superedge.liteapiserver.cache.representations import actual_representation, expected_representation
from superedge.liteapiserver.cache.scopes import object_name

_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_OF_THE_OBJECT = frozenset({"", "status", "finalize", "approval", "ephemeralcontainers", "resize"})
"""Subresources whose response is the object itself."""
_OF_OTHER_KIND = frozenset({"scale", "eviction", "binding"})
"""Subresources that change the object and have another kind as response."""


def changes_objects(request: RequestInfo) -> bool:
    """Whether a successful request may change objects."""
    return (
        request.is_resource
        and request.verb in _VERBS
        and request.subresource in (_OF_THE_OBJECT | _OF_OTHER_KIND)
        and "dryRun" not in request.query
    )


class Writes:
    """Changes the collections that the writing client has read, and no others."""

    def __init__(self, collections: CollectionIndex, documents: Documents, commit: Commit) -> None:
        self._collections = collections
        self._documents = documents
        self._commit = commit

    def apply(
        self, identity: str, request: RequestInfo, baseline: Baseline, content_type: str, body: bytes
    ) -> None:
        """Apply a complete response. Raises DecodeError; then nothing shown has changed."""
        self._documents.forget_about(identity, request, self._commit)
        self._invalidate_other_versions(identity, request, baseline)
        if not self._collections.of(identity, request):
            return
        if request.subresource in _OF_OTHER_KIND:
            self.invalidate(identity, request, baseline)
        elif request.verb == "deletecollection":
            self._deleted_all(identity, request, content_type, body)
        elif kind_of(body) == ("Status", "v1"):
            if request.verb == "delete":
                uid = deleted_uid(body)
                for collection in self._collections.of(identity, request):
                    stored = collection.objects.get(object_name(request))
                    if stored is None or uid in ("", collection.codec.lifecycle(stored.item.raw).uid):
                        collection.apply_deletion(object_name(request), baseline.reached)
            else:
                self.invalidate(identity, request, baseline)
        else:
            self._shown(identity, request, baseline, content_type, body)

    def invalidate(self, identity: str, request: RequestInfo, baseline: Baseline) -> None:
        """Apply a successful write whose result is not known."""
        self._documents.forget_about(identity, request, self._commit)
        for collection in self._collections.of_any_version(identity, request):
            self._invalidate(collection, request, baseline)

    def _invalidate_other_versions(self, identity: str, request: RequestInfo, baseline: Baseline) -> None:
        """An object has another form in each version of its API, and the response shows one of them."""
        for collection in self._collections.of_any_version(identity, request):
            if collection.key.version != request.version:
                self._invalidate(collection, request, baseline)

    def _invalidate(self, collection: Collection, request: RequestInfo, baseline: Baseline) -> None:
        name = object_name(request)
        names = {name}
        if request.verb == "deletecollection":
            names.update(each for each in collection.objects if name[0] in ("", each[0]))
        for each in names:
            collection.invalidate(each, baseline.reached + 1)

    def clear_absence(self, identity: str, request: RequestInfo) -> None:
        """A write succeeded and its response was cut short: forget a 404, and keep what was shown."""
        for collection in self._collections.of_any_version(identity, request):
            collection.clear_absence(*object_name(request))

    def _collection(
        self, identity: str, request: RequestInfo, content_type: str, body: bytes
    ) -> Collection | None:
        representation = actual_representation(expected_representation(request, content_type), body)
        key = CollectionKey(identity, request.group, request.version, request.resource, representation)
        return self._collections.make(key)

    def _shown(
        self, identity: str, request: RequestInfo, baseline: Baseline, content_type: str, body: bytes
    ) -> None:
        own = self._collection(identity, request, content_type, body)
        if own is None:
            self.invalidate(identity, request, baseline)
            return
        item = own.decode_object(body)
        name, number = (item.namespace, item.name), version_number(item.version)
        if self._is_gone(request, own, item):
            for collection in self._collections.of(identity, request):
                collection.apply_deletion(name, number, item.raw if collection is own else b"")
            return
        for collection in self._collections.of(identity, request):
            stored = collection.objects.get(name)
            if collection is not own and stored is not None and stored.number >= number:
                continue  # the API server's own representation
            shown = item if collection is own else _derived(own, collection, item)
            if shown is not None:
                collection.apply_object(shown, is_own_write=True)
            else:
                collection.invalidate(name, number)

    def _is_gone(self, request: RequestInfo, collection: Collection, item: Item) -> bool:
        """Whether the object in a response is its last state, after which it no longer exists."""
        end = collection.codec.lifecycle(item.raw)
        if request.verb == "delete" and not end.deleting:
            return True  # some responses show the object from before the deletion
        if request.resource == "namespaces":
            return False  # its finalizers are in its spec
        return end.deleting and not end.kept

    def _deleted_all(self, identity: str, request: RequestInfo, content_type: str, body: bytes) -> None:
        own = self._collection(identity, request, content_type, body)
        if own is None:
            self.invalidate(identity, request, Baseline())
            return
        page = own.codec.decode_list(body)
        version = version_number(page.version)
        for item in page.items:
            name, number = (item.namespace, item.name), version_number(item.version)
            # The items are from before the deletion; only their finalizers show which of them still exist.
            waits = request.resource == "pods" or own.codec.lifecycle(item.raw).kept
            for collection in self._collections.of(identity, request):
                if waits:
                    collection.invalidate(name, max(version, number) + 1)
                else:
                    collection.apply_deletion(
                        name, max(version, number), item.raw if collection is own else b""
                    )


def _derived(own: Collection, collection: Collection, item: Item) -> Item | None:
    """An object converted to another representation; None when that is not possible."""
    whole = item.raw if own.key.representation == Representation(JSON) else b""
    raw = collection.codec.derive(own.codec.metadata(item.raw), whole)
    return None if raw is None else item._replace(kind="", api_version="", raw=raw)
