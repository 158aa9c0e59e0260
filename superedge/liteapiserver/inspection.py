"""Inspects the content of a store, loaded as the server loads it. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from superedge.interfaces import Inspection
from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.media import JSON
from superedge.kube.request import qualified
from superedge.liteapiserver.access.credentials import Credentials
from superedge.liteapiserver.access.issuer import Issuer
from superedge.liteapiserver.access.seal import generate_key
from superedge.liteapiserver.access.tokens import TokenCache
from superedge.liteapiserver.cache.cache import Cache
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.eviction import Limits
from superedge.liteapiserver.cache.policy import Policy
from superedge.liteapiserver.cache.scopes import Name
from superedge.liteapiserver.cache.views import StoredObject

HIDDEN = "<hidden>"
_UNLIMITED = Limits(1 << 62, 1 << 62)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Row = dict[str, Any]


class Query(NamedTuple):
    """Patterns with ``*`` for any text; None matches everything."""

    identity: str | None = None
    resource: str | None = None
    namespace: str | None = None
    name: str | None = None

    def matches(self, collection: Collection) -> bool:
        """Whether a collection's identity and resource match; the resource's group may be left out."""
        key = collection.key
        names = (key.resource, qualified(key.group, key.resource))
        return _matches(self.identity, key.identity) and any(_matches(self.resource, name) for name in names)

    def matches_name(self, name: Name) -> bool:
        """Whether an object's namespace and name match."""
        return _matches(self.namespace, name[0]) and _matches(self.name, name[1])


def _matches(pattern: str | None, text: str) -> bool:
    return pattern is None or fnmatchcase(text, pattern)


def timestamp(seconds: float) -> str:
    """Unix time as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class CacheInspector:
    """Loads what an inspection found. ``clock`` gives Unix time."""

    def __init__(self, inspection: Inspection, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._count = len(inspection.entries)
        self.faults = list(inspection.faults)
        """A sentence for each damaged or inconsistent record."""
        self._cache = Cache(Policy(), self._repaired, 0, _UNLIMITED, clock)
        # The tokens are not decrypted, so any key will do.
        self._token_cache = TokenCache(generate_key(), self._repaired, clock)
        credentials = Credentials(self._repaired, clock)
        for part in (self._token_cache, credentials, Issuer((), self._repaired, clock, lambda: None)):
            part.load(inspection.entries)
        self._cache.load(list(inspection.entries))

    def _repaired(self, kind: str, key: tuple[str, ...], value: bytes | None) -> None:
        """Note a fault: while loading, the server writes only to repair a record."""
        where = " ".join(part or "-" for part in key)
        if value is None:
            self.faults.append(f"the record {kind} {where} cannot be read")
        else:
            self.faults.append(f"the record {kind} {where} lacks objects and counts as partial")

    def _selected(self, query: Query) -> Iterator[Collection]:
        chosen = [each for each in self._cache.collections() if query.matches(each)]
        return iter(sorted(chosen, key=lambda each: each.key.parts))

    def _objects(self, query: Query) -> Iterator[tuple[Collection, Name, StoredObject]]:
        for collection in self._selected(query):
            for name, stored in sorted(collection.objects.items()):
                if query.matches_name(name):
                    yield collection, name, stored

    # -- tables

    def collections(self, query: Query) -> list[Row]:
        """One row for each identity, resource and representation."""
        return [
            {
                **_of(collection),
                "objects": len(collection.objects),
                "bytes": collection.size,
                "views": len(collection.views),
                "complete": sum(view.complete for view in collection.views.values()),
                "absent": len(collection.absent),
                "resourceVersion": str(collection.newest),
            }
            for collection in self._selected(query)
        ]

    def views(self, query: Query) -> list[Row]:
        """One row for each view."""
        return [
            {
                **_of(collection),
                "namespace": view.scope.namespace,
                "labelSelector": view.scope.labels,
                "fieldSelector": view.scope.fields,
                "objects": len(view.members),
                "complete": view.complete,
                "resourceVersion": view.version,
                "updated": timestamp(view.updated),
            }
            for collection in self._selected(query)
            for view in collection.views.values()
        ]

    def objects(self, query: Query) -> list[Row]:
        """One row for each object in each representation."""
        return [
            {
                **_of(collection),
                **_named(name, stored),
                "bytes": len(stored.item.raw),
                "views": len(stored.views),
            }
            for collection, name, stored in self._objects(query)
        ]

    def documents(self, query: Query) -> list[Row]:
        """One row for each document."""
        return [
            {
                "identity": identity,
                "path": path,
                "contentType": header.content_type,
                "bytes": len(body),
                "updated": timestamp(header.updated),
            }
            for identity, path, header, body in self._cache.documents()
            if _matches(query.identity, identity)
        ]

    def tokens(self, query: Query) -> list[Row]:
        """One row for each token: its service account and expiry, and not the token itself."""
        return [
            {
                "identity": identity,
                "namespace": namespace,
                "serviceAccount": account,
                "expires": timestamp(expires),
            }
            for identity, namespace, account, expires in self._token_cache.tokens()
            if _matches(query.identity, identity) and query.matches_name((namespace, account))
        ]

    # -- bodies

    def bodies(self, query: Query, secrets: bool) -> Iterator[Row]:
        """Objects with their bodies: decoded JSON, else base64. Values of Secrets only with ``secrets``."""
        for collection, name, stored in self._objects(query):
            row = {**_of(collection), **_named(name, stored)}
            secret = (collection.key.group, collection.key.resource) == ("", "secrets")
            yield row | _body(collection, stored, hide=secret and not secrets)

    # -- verification

    def verify(self) -> int:
        """Decode every object, and add what is wrong to `faults`; returns the number of records."""
        for collection, name, stored in self._objects(Query()):
            where = " ".join(part or "-" for part in (*collection.key.parts, *name))
            try:
                codec = collection.codec
                body = codec.encode_object(collection.kind or "?", collection.api_version, stored.item.raw)
                item = codec.decode_object(body)
            except (DecodeError, *JSON_FAULTS) as problem:
                self.faults.append(f"the object {where}: {problem}")
                continue
            if (item.namespace, item.name) != name or item.version != stored.item.version:
                self.faults.append(f"the object {where} is {item.namespace}/{item.name} at {item.version}")
        return self._count


def _of(collection: Collection) -> Row:
    key = collection.key
    return {
        "identity": key.identity,
        "resource": qualified(key.group, key.resource),
        "version": key.version,
        "form": str(key.representation),
    }


def _named(name: Name, stored: StoredObject) -> Row:
    return {
        "namespace": name[0],
        "name": name[1],
        "resourceVersion": stored.item.version,
        "updated": timestamp(stored.updated),
    }


def _body(collection: Collection, stored: StoredObject, hide: bool) -> Row:
    if collection.key.representation.media_type != JSON:
        return {"body": HIDDEN} if hide else {"base64": base64.b64encode(stored.item.raw).decode()}
    kind, version = stored.item.kind or collection.kind, stored.item.api_version or collection.api_version
    try:
        body = msgspec.json.decode(collection.codec.encode_object(kind, version, stored.item.raw))
    except JSON_FAULTS:
        return {"body": HIDDEN} if hide else {"base64": base64.b64encode(stored.item.raw).decode()}
    if hide and collection.key.representation.kind:
        return {"body": HIDDEN}
    return {"body": _without_values(body) if hide else body}


def _without_values(secret: Row) -> Row:
    """A Secret with its keys and without their values."""
    for field in ("data", "stringData"):
        if isinstance(secret.get(field), dict):
            secret[field] = dict.fromkeys(secret[field], HIDDEN)
    annotations = (secret.get("metadata") or {}).get("annotations") or {}
    if _LAST_APPLIED in annotations:
        annotations[_LAST_APPLIED] = HIDDEN
    for entry in (secret.get("metadata") or {}).get("managedFields") or ():
        entry.pop("fieldsV1", None)
    return secret
