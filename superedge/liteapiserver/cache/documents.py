"""Bodies that are kept whole: discovery, versions, schemas, Tables. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import urlencode

import msgspec

from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.media import JSON, Representation, parse_media_type
from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.forms import wanted_forms
from superedge.liteapiserver.cache.records import Commit, DocumentHeader, pack

# Parameters that say how to answer, not what.
_PASSING = frozenset(
    {"timeout", "timeoutSeconds", "limit", "resourceVersion", "resourceVersionMatch", "pretty"}
)


class _ListMetadata(msgspec.Struct):
    resourceVersion: str = ""
    token: str = msgspec.field(default="", name="continue")


class _TableHead(msgspec.Struct):
    metadata: _ListMetadata = msgspec.field(default_factory=_ListMetadata)


_table = msgspec.json.Decoder(_TableHead)
_any = msgspec.json.Decoder(msgspec.Raw)


def document_path(request: RequestInfo) -> str:
    """What names a document: path and lasting parameters."""
    if not request.query:
        return request.path
    kept = sorted((key, value) for key, value in request.query.items() if key not in _PASSING)
    return f"{request.path}?{urlencode(kept)}" if kept else request.path


def _check(representation: Representation, body: bytes) -> None:
    if not body:
        raise DecodeError("it is empty")
    if representation.media_type == JSON:
        try:
            _any.decode(body)
        except JSON_FAULTS as problem:
            raise DecodeError(f"not JSON: {problem}") from problem


class Documents:
    """One table for all identities."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._found: dict[tuple[str, str, Representation], tuple[DocumentHeader, bytes]] = {}
        self.size = 0
        """Bytes of all bodies."""

    @property
    def records(self) -> int:
        """How many there are."""
        return len(self._found)

    def ages(self) -> Iterator[tuple[float, Callable[[Commit], None]]]:
        """When each was brought, Unix time, and what forgets it."""
        for key, (header, _) in self._found.items():
            yield header.updated, partial(self._forget, key)

    def all(self) -> list[tuple[str, str, DocumentHeader, bytes]]:
        """Identity, path, header and body of each."""
        return [(identity, path, *document) for (identity, path, _), document in self._found.items()]

    def _forget(self, key: tuple[str, str, Representation], commit: Commit) -> None:
        self.size -= len(self._found.pop(key)[1])
        commit(records.DOCUMENT, (key[0], key[1], str(key[2])), None)

    def put(
        self, identity: str, request: RequestInfo, content_type: str, etag: str, body: bytes, commit: Commit
    ) -> None:
        """Keep a body; one page of many is not kept. ``etag`` is the answer's header, empty without one.

        Raises DecodeError for an empty body, and for one that is labelled as JSON and is none.
        """
        version = ""
        representation = parse_media_type(content_type)
        _check(representation, body)
        if representation.kind == "Table":
            meta = _table.decode(body).metadata
            if meta.token or request.query.get("continue"):
                return
            version = meta.resourceVersion
        path = document_path(request)
        if "hash" in request.query:
            self._forget_others(identity, path, commit)
        label = representation.content_type if representation.include else content_type
        header = DocumentHeader(label, self._clock(), version, request.accept, etag)
        self._keep((identity, path, representation), header, body)
        commit(records.DOCUMENT, (identity, path, str(representation)), pack(header, body))

    def _forget_others(self, identity: str, path: str, commit: Commit) -> None:
        """A schema's path carries the hash of what it says: a new one takes the place of the old."""
        plain = path.partition("?")[0]
        for key in list(self._found):
            if key[0] == identity and key[1] != path and key[1].startswith(f"{plain}?hash="):
                self._forget(key, commit)

    def confirm(self, identity: str, request: RequestInfo, etag: str) -> None:
        """A 304 said that what has this ETag is still so."""
        path = document_path(request)
        for (owner, known, _), (header, _body) in self._found.items():
            if owner == identity and known == path and etag and header.etag == etag:
                header.updated = self._clock()

    def forget(self, identity: str, request: RequestInfo, commit: Commit) -> None:
        """What was shown there is gone."""
        path = document_path(request)
        for key in [key for key in self._found if key[:2] == (identity, path)]:
            self._forget(key, commit)

    def restore(self, key: tuple[str, ...], header: DocumentHeader, body: bytes) -> None:
        """Take back a body."""
        identity, path, representation = key
        self._keep((identity, path, parse_media_type(representation)), header, body)

    def _keep(self, key: tuple[str, str, Representation], header: DocumentHeader, body: bytes) -> None:
        before = self._found.get(key)
        self.size += len(body) - (len(before[1]) if before is not None else 0)
        self._found[key] = (header, body)

    def get(self, identity: str, request: RequestInfo) -> tuple[DocumentHeader, bytes] | None:
        """The body in the form the client wants most."""
        path = document_path(request)
        for representation in wanted_forms(request):
            found = self._found.get((identity, path, representation))
            if found is not None:
                return found
        return None if request.is_resource else self._as_asked_before(identity, request, path)

    def _as_asked_before(
        self, identity: str, request: RequestInfo, path: str
    ) -> tuple[DocumentHeader, bytes] | None:
        """Schemas come under media types other than those that were asked for: go by the question."""
        anything = not request.accept or "*/*" in request.accept
        chosen = None
        for (owner, known, _), document in self._found.items():
            if owner == identity and known == path:
                if document[0].accept == request.accept:
                    return document
                if anything:
                    chosen = document
        return chosen
