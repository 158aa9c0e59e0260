"""Applies 404 responses: an object, a resource or a path does not exist. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from superedge.kube.media import JSON, Representation
from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.documents import Documents
from superedge.liteapiserver.cache.index import CollectionIndex
from superedge.liteapiserver.cache.objects import CollectionKey
from superedge.liteapiserver.cache.records import Commit
from superedge.liteapiserver.cache.scopes import object_name

_NO_SUCH_PATH = b"404 page not found"
"""The body of an API server's 404 for a path that it does not serve."""
_NO_SUCH_RESOURCE = b"the server could not find the requested resource"
"""In the Status that it has instead for a resource in a group and version that it does serve."""


def _is_scope_of(collection: Collection, namespaced: bool) -> bool:
    """Whether what is known of a resource is in namespaces, or else is not, as ``namespaced`` says."""
    first = next(iter(collection.objects), None)
    if first is not None:
        return bool(first[0]) is namespaced
    return namespaced and any(scope.namespace for scope in collection.views)


class Absences:
    """Forgets what no longer exists."""

    def __init__(self, collections: CollectionIndex, documents: Documents, commit: Commit) -> None:
        self._collections = collections
        self._documents = documents
        self._commit = commit

    def finish(
        self, identity: str, request: RequestInfo, reached: int, audited: bool
    ) -> Callable[[bytes], None] | None:
        """A function that takes the body; None when the response proves nothing.

        ``reached`` is the latest version known before the request. A plain page counts only when ``audited``,
        since something before the API server may have sent it.
        """
        if request.subresource:
            return None
        if not request.is_resource:
            return partial(self._path_unknown, identity, request) if audited else None
        if request.verb != "get" or not request.name:
            return partial(self._not_served, identity, request) if audited else None
        if request.query.get("resourceVersion"):
            return None  # the response may be an old one
        return partial(self._missing, identity, request, reached, audited)

    def _missing(self, identity: str, request: RequestInfo, version: int, audited: bool, body: bytes) -> None:
        """Apply the 404 of a get; ``version`` is the latest known before the request."""
        if b"NotFound" not in body or _NO_SUCH_RESOURCE in body:
            if audited:
                self._not_served(identity, request, body)
            return
        # The collection that keeps the 404, if the object was never read.
        self._collections.make(
            CollectionKey(identity, request.group, request.version, request.resource, Representation(JSON))
        )
        for collection in self._collections.of(identity, request):
            collection.apply_not_found(object_name(request), version)
        self._documents.forget(identity, request, self._commit)

    def _not_served(self, identity: str, request: RequestInfo, body: bytes) -> None:
        """The API server does not serve the resource: its CustomResourceDefinition may be deleted.

        Nor does it serve an object of a namespaced resource outside of namespaces, nor other resources in
        one: such a path tells nothing about the objects that are known.
        """
        if body.strip() != _NO_SUCH_PATH and _NO_SUCH_RESOURCE not in body:
            return
        for collection in self._collections.of(identity, request):
            if not (request.namespace or request.name) or _is_scope_of(collection, bool(request.namespace)):
                collection.reset()
        self._documents.forget(identity, request, self._commit)

    def _path_unknown(self, identity: str, request: RequestInfo, _body: bytes) -> None:
        """The API server does not serve the path."""
        self._documents.forget(identity, request, self._commit)
