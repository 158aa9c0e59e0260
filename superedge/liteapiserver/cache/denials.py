"""Applies 403 responses: a client may no longer read what it has read. Pure."""

from __future__ import annotations

from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.documents import Documents
from superedge.liteapiserver.cache.index import CollectionIndex
from superedge.liteapiserver.cache.records import DENIED, Commit, DeniedHeader, pack
from superedge.liteapiserver.cache.scopes import Scope, object_name, scope_of

MAX_DENIALS = 1000
"""Denials that are kept; the oldest are dropped. What they denied has been forgotten by then."""
_LONGEST = 2048
"""Characters of the longest denial that is kept."""

_Denial = tuple[str, ...]
"""Identity, verb, group, resource, subresource, namespace, name, label and field selector. For a path
that is no resource, the path takes the place of the resource."""


def _denial(identity: str, verb: str, request: RequestInfo) -> _Denial:
    if not request.is_resource:
        return (identity, verb, "", request.path, "", "", "", "", "")
    what = (identity, verb, request.group, request.resource, request.subresource)
    if verb == "get":
        return (*what, *object_name(request), "", "")
    scope = scope_of(request)
    return (*what, scope.namespace, "", scope.labels, scope.fields)


def _verb(request: RequestInfo) -> str:
    """The verb; that of a HEAD is that of the same GET."""
    if not request.is_resource or request.verb == "watch":
        return "watch" if request.verb == "watch" else "get"
    return "get" if request.name else "list"


class Denials:
    """Keeps the 403s of the API server until the same read is allowed again."""

    def __init__(self, collections: CollectionIndex, documents: Documents, commit: Commit) -> None:
        self._collections = collections
        self._documents = documents
        self._commit = commit
        self._found: dict[_Denial, None] = {}

    def deny(self, identity: str, request: RequestInfo) -> None:
        """A read is forbidden: forget what it showed, in memory and in the store."""
        verb = _verb(request)
        if request.is_resource and not request.subresource:
            self._forget(identity, request, verb)
        self._documents.forget(identity, request, self._commit)
        denial = _denial(identity, verb, request)
        if denial not in self._found and sum(map(len, denial)) <= _LONGEST:
            while len(self._found) >= MAX_DENIALS:
                self._lift(next(iter(self._found)))
            self._found[denial] = None
            self._commit(DENIED, denial, pack(DeniedHeader()))

    def _forget(self, identity: str, request: RequestInfo, verb: str) -> None:
        collections = self._collections.of(identity, request)
        if verb == "get":
            for collection in collections:
                collection.revoke_object(object_name(request))
        elif verb == "list" or request.flag("sendInitialEvents"):
            self._documents.forget_about(identity, request, self._commit)
            for collection in collections:
                self._revoke(collection, scope_of(request))

    def _revoke(self, collection: Collection, scope: Scope) -> None:
        """Revoke every view from which the list could be answered: each needs at least the same rights."""
        for namespace in {scope.namespace, ""}:
            for labels in {scope.labels, ""}:
                for fields in {scope.fields, ""}:
                    view = collection.views.get(Scope(namespace, labels, fields))
                    if view is not None:
                        collection.revoke(view)

    def allow(self, identity: str, request: RequestInfo) -> None:
        """A read succeeded: lift its denial. A client that may list may also watch."""
        if self._found:
            verb = _verb(request)
            for each in ("list", "watch") if verb == "list" else (verb,):
                denial = _denial(identity, each, request)
                if denial in self._found:
                    self._lift(denial)

    def _lift(self, denial: _Denial) -> None:
        del self._found[denial]
        self._commit(DENIED, denial, None)

    def denies(self, identity: str, request: RequestInfo) -> bool:
        """Whether the cloud's last response to this read was a 403."""
        return bool(self._found) and _denial(identity, _verb(request), request) in self._found

    def load(self, key: tuple[str, ...]) -> None:
        """Load a denial. Raises ValueError."""
        identity, verb, group, resource, subresource, namespace, name, labels, fields = key
        self._found[identity, verb, group, resource, subresource, namespace, name, labels, fields] = None

    def save(self) -> None:
        """Commit everything again."""
        for denial in self._found:
            self._commit(DENIED, denial, pack(DeniedHeader()))
