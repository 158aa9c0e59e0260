"""What the answers to a client's own writes say of what it read before. Pure."""

from __future__ import annotations

from superedge.kube.codecs import kind_of
from superedge.kube.deletion import deleted_uid
from superedge.kube.media import JSON, Representation
from superedge.kube.objects import Item, version_number
from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache.asked import Asked
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.documents import Documents
from superedge.liteapiserver.cache.forms import actual_form, expected_form
from superedge.liteapiserver.cache.index import CollectionIndex
from superedge.liteapiserver.cache.objects import CollectionKey
from superedge.liteapiserver.cache.records import Commit
from superedge.liteapiserver.cache.scopes import object_name

_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_OF_THE_OBJECT = frozenset({"", "status", "finalize", "approval", "ephemeralcontainers", "resize"})
"""Subresources that are answered with the object itself."""
_OF_OTHER_KIND = frozenset({"scale", "eviction", "binding"})
"""Subresources that change the object, and are answered with something else."""


def changes_objects(request: RequestInfo) -> bool:
    """Whether a request that succeeds may have changed what a client reads."""
    return (
        request.is_resource
        and request.verb in _VERBS
        and request.subresource in (_OF_THE_OBJECT | _OF_OTHER_KIND)
        and "dryRun" not in request.query
    )


class Writes:
    """Takes answers to writes into what their clients have read; who reads nothing has nothing."""

    def __init__(self, collections: CollectionIndex, documents: Documents, commit: Commit) -> None:
        self._collections = collections
        self._documents = documents
        self._commit = commit

    def take(self, identity: str, request: RequestInfo, asked: Asked, content_type: str, body: bytes) -> None:
        """A whole answer. Raises DecodeError; then nothing was taken."""
        self._documents.forget_about(identity, request, self._commit)
        if request.subresource in _OF_OTHER_KIND:
            self.unknown(identity, request, asked)
        elif request.verb == "deletecollection":
            self._deleted_all(identity, request, content_type, body)
        elif kind_of(body) == ("Status", "v1"):
            if request.verb == "delete":
                uid = deleted_uid(body)
                for form in self._collections.of(identity, request):
                    stored = form.objects.get(object_name(request))
                    if stored is None or uid in ("", form.codec.lifecycle(stored.item.raw).uid):
                        form.removed(object_name(request), asked.reached)
            else:
                self.unknown(identity, request, asked)
        else:
            self._shown(identity, request, asked, content_type, body)

    def unknown(self, identity: str, request: RequestInfo, asked: Asked) -> None:
        """A write succeeded, and what came of it is not known."""
        self._documents.forget_about(identity, request, self._commit)
        name = object_name(request)
        for form in self._collections.of(identity, request):
            names = {name}
            if request.verb == "deletecollection":
                names.update(each for each in form.objects if name[0] in ("", each[0]))
            for each in names:
                form.outdated(each, asked.reached + 1)

    def doubt_absence(self, identity: str, request: RequestInfo) -> None:
        """A write succeeded, its answer was cut short: what was shown before is not taken back, but a 404."""
        for form in self._collections.of(identity, request):
            form.found(*object_name(request))

    def _form(self, identity: str, request: RequestInfo, content_type: str, body: bytes) -> Collection | None:
        form = actual_form(expected_form(request, content_type), body)
        key = CollectionKey(identity, request.group, request.version, request.resource, form)
        return self._collections.make(key)

    def _shown(
        self, identity: str, request: RequestInfo, asked: Asked, content_type: str, body: bytes
    ) -> None:
        own = self._form(identity, request, content_type, body)
        if own is None:
            self.unknown(identity, request, asked)
            return
        item = own.decode_object(body)
        name, number = (item.namespace, item.name), version_number(item.version)
        if self._is_gone(request, own, item):
            for form in self._collections.of(identity, request):
                form.removed(name, number, item.raw if form is own else b"")
            return
        for form in self._collections.of(identity, request):
            stored = form.objects.get(name)
            if form is not own and stored is not None and stored.number >= number:
                continue  # as the API server showed it
            shown = item if form is own else _derived(own, form, item)
            if shown is not None:
                form.show(shown)
            else:
                form.outdated(name, number)

    def _is_gone(self, request: RequestInfo, form: Collection, item: Item) -> bool:
        """Whether an object that was answered with is the last that was there of it."""
        end = form.codec.lifecycle(item.raw)
        if request.verb == "delete" and not end.deleting:
            return True  # some are answered with as they were
        if request.resource == "namespaces":
            return False  # a namespace has finalizers in its spec
        return end.deleting and not end.kept

    def _deleted_all(self, identity: str, request: RequestInfo, content_type: str, body: bytes) -> None:
        own = self._form(identity, request, content_type, body)
        if own is None:
            self.unknown(identity, request, Asked())
            return
        page = own.codec.decode_list(body)
        version = version_number(page.version)
        for item in page.items:
            name, number = (item.namespace, item.name), version_number(item.version)
            # As each was before: which of them wait for something is told by their finalizers alone.
            waits = request.resource == "pods" or own.codec.lifecycle(item.raw).kept
            for form in self._collections.of(identity, request):
                if waits:
                    form.outdated(name, max(version, number) + 1)
                else:
                    form.removed(name, max(version, number), item.raw if form is own else b"")


def _derived(own: Collection, form: Collection, item: Item) -> Item | None:
    """An object in another form than that in which it came; None when it cannot be told."""
    whole = item.raw if own.key.representation == Representation(JSON) else b""
    raw = form.codec.derive(own.codec.metadata(item.raw), whole)
    return None if raw is None else item._replace(kind="", api_version="", raw=raw)
