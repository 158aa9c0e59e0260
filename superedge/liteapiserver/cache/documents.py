"""Documents: response bodies that are kept whole, such as discovery, schemas and Tables. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import urlencode

import msgspec

from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.media import JSON, Representation, parse_media_type
from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.index import in_memory
from superedge.liteapiserver.cache.records import Commit, DocumentHeader, pack
from superedge.liteapiserver.cache.representations import accepted_representations

# Parameters that select the content, of resources and of schemas.
_SELECTORS = frozenset({"labelSelector", "fieldSelector", "includeObject", "continue"})
_PATH_SELECTORS = frozenset({"hash"})


_Key = tuple[str, str, Representation]
"""Identity, path and representation."""
_Document = tuple[DocumentHeader, bytes]


class _ListMetadata(msgspec.Struct):
    resourceVersion: str = ""
    token: str = msgspec.field(default="", name="continue")


class _TableHead(msgspec.Struct):
    metadata: _ListMetadata = msgspec.field(default_factory=_ListMetadata)


_table = msgspec.json.Decoder(_TableHead)
_any = msgspec.json.Decoder(msgspec.Raw)


def document_path(request: RequestInfo) -> str:
    """The path of a document with the parameters that select its content; others are left out."""
    if not request.query:
        return request.path
    asks = _SELECTORS if request.is_resource else _PATH_SELECTORS
    kept = sorted((key, value) for key, value in request.query.items() if key in asks)
    return f"{request.path}?{urlencode(kept)}" if kept else request.path


def _size(identity: str, path: str, document: _Document) -> int:
    header, body = document
    return len(body) + len(identity) + len(path) + len(header.content_type) + len(header.accept)


def _check(representation: Representation, body: bytes) -> None:
    if not body:
        raise DecodeError("it is empty")
    if representation.media_type == JSON:
        try:
            _any.decode(body)
        except JSON_FAULTS as problem:
            raise DecodeError(f"not JSON: {problem}") from problem


class Documents:
    """The documents of all identities."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._found: dict[str, dict[tuple[str, Representation], _Document]] = {}
        """Those of each identity, by path and representation: to look for some costs an identity no more
        than it has itself."""
        self._in_memory: set[_Key] = set()
        """Documents that must not reach the store."""
        self.size = 0
        """Bytes of all bodies and names."""
        self.records = 0
        """The number of documents."""

    def ages(self) -> Iterator[tuple[str, float, Callable[[Commit], None]]]:
        """Identity, Unix time of the last response, and a function that forgets it, of each document."""
        for identity, own in self._found.items():
            for (path, representation), (header, _) in own.items():
                yield identity, header.updated, partial(self._forget, (identity, path, representation))

    def sizes(self) -> Iterator[tuple[str, int, int]]:
        """Each identity with the number of its documents and their bytes."""
        for identity, own in self._found.items():
            size = sum(_size(identity, path, document) for (path, _), document in own.items())
            yield identity, len(own), size

    def all(self) -> list[tuple[str, str, DocumentHeader, bytes]]:
        """Identity, path, header and body of each."""
        return [
            (identity, path, *document)
            for identity, own in self._found.items()
            for (path, _), document in own.items()
        ]

    def _forget(self, key: _Key, commit: Commit) -> None:
        identity, path, representation = key
        own = self._found[identity]
        self.size -= _size(identity, path, own.pop((path, representation)))
        self.records -= 1
        if not own:
            del self._found[identity]
        self._in_memory.discard(key)
        commit(records.DOCUMENT, (key[0], key[1], str(key[2])), None)

    def put(
        self, identity: str, request: RequestInfo, content_type: str, etag: str, body: bytes, commit: Commit
    ) -> None:
        """Keep a body, unless it is one page of several. ``etag`` is that header, empty without one.

        Raises DecodeError for an empty body, and for one that should be JSON and is not.
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
        key = (identity, path, representation)
        self._keep(key, header, body)
        if commit is in_memory:
            self._in_memory.add(key)
        else:
            self._write(key, commit)

    def _write(self, key: _Key, commit: Commit) -> None:
        document = self._found[key[0]][key[1:]]
        commit(records.DOCUMENT, (key[0], key[1], str(key[2])), pack(*document))

    def save(self, commit: Commit) -> None:
        """Commit everything again."""
        for identity, own in self._found.items():
            for path, representation in own:
                if (key := (identity, path, representation)) not in self._in_memory:
                    self._write(key, commit)

    def _forget_others(self, identity: str, path: str, commit: Commit) -> None:
        """Forget the older schemas of a path, whose parameter ``hash`` differs."""
        start = f"{path.partition('?')[0]}?hash="
        self._forget_where(identity, lambda each: each != path and each.startswith(start), commit)

    def _forget_where(self, identity: str, is_meant: Callable[[str], bool], commit: Commit) -> None:
        for path, representation in list(self._found.get(identity, ())):
            if is_meant(path):
                self._forget((identity, path, representation), commit)

    def confirm(self, identity: str, request: RequestInfo, etag: str) -> None:
        """Note that a 304 confirmed the document with this ETag."""
        path = document_path(request)
        for (known, _), (header, _body) in self._found.get(identity, {}).items():
            if known == path and etag and header.etag == etag:
                header.updated = self._clock()

    def forget(self, identity: str, request: RequestInfo, commit: Commit) -> None:
        """Forget the documents of a request's path."""
        path = document_path(request)
        self._forget_where(identity, lambda each: each == path, commit)

    def forget_about(self, identity: str, request: RequestInfo, commit: Commit) -> None:
        """Forget the documents of a written object, and of every list that may show it."""
        start = f"/apis/{request.group}/" if request.group else "/api/"
        anywhere = f"{start}{request.version}/{request.resource}"
        lists = {anywhere, f"{start}{request.version}/namespaces/{request.namespace}/{request.resource}"}
        names = tuple(f"{each}/{request.name}/" for each in lists if request.name)

        def may_show(path: str) -> bool:
            plain = path.partition("?")[0]
            return plain in lists or f"{plain}/".startswith(names)

        self._forget_where(identity, may_show, commit)

    def load(self, key: tuple[str, ...], header: DocumentHeader, body: bytes) -> None:
        """Load a document."""
        identity, path, representation = key
        self._keep((identity, path, parse_media_type(representation)), header, body)

    def _keep(self, key: _Key, header: DocumentHeader, body: bytes) -> None:
        identity, path, representation = key
        own = self._found.setdefault(identity, {})
        before = own.get((path, representation))
        if before is not None:
            self.size -= _size(identity, path, before)
            self.records -= 1
        document = own[path, representation] = (header, body)
        self.size += _size(identity, path, document)
        self.records += 1

    def get(self, identity: str, request: RequestInfo) -> _Document | None:
        """The document in the representation that the client prefers."""
        path = document_path(request)
        for representation in accepted_representations(request):
            found = self._found.get(identity, {}).get((path, representation))
            if found is not None:
                return found
        return None if request.is_resource else self._by_accept(identity, request, path)

    def _by_accept(self, identity: str, request: RequestInfo, path: str) -> _Document | None:
        """The document with the same Accept: the media type of a schema is not the requested one."""
        anything = not request.accept or "*/*" in request.accept
        chosen = None
        for (known, _), document in self._found.get(identity, {}).items():
            if known == path:
                if document[0].accept == request.accept:
                    return document
                if anything:
                    chosen = document
        return chosen
