"""Loads the entries of a store into the cache. Pure."""

from __future__ import annotations

from twisted.logger import Logger

from superedge.interfaces import Entry
from superedge.kube.errors import DecodeError
from superedge.kube.media import parse_media_type
from superedge.kube.objects import version_number
from superedge.kube.request import qualified
from superedge.liteapiserver import metrics
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.denials import Denials
from superedge.liteapiserver.cache.documents import Documents
from superedge.liteapiserver.cache.index import CollectionIndex
from superedge.liteapiserver.cache.objects import CollectionKey
from superedge.liteapiserver.cache.records import Commit

_OF_COLLECTIONS = (records.OBJECT, records.VIEW, records.ABSENT, records.SHARED)

_log = Logger()


def load(
    entries: list[Entry],
    collections: CollectionIndex,
    documents: Documents,
    denials: Denials,
    commit: Commit,
) -> None:
    """Load every entry; one that cannot be read is dropped.

    ``entries`` is emptied meanwhile, so that no large value is in memory twice.
    """

    def take(entry: Entry) -> None:
        try:
            if entry.kind == records.DOCUMENT:
                documents.load(entry.key, *records.unpack(records.DocumentHeader, entry.value))
            elif entry.kind == records.DENIED:
                denials.load(entry.key)
            elif entry.kind in _OF_COLLECTIONS:
                _load_part(entry, collections)
        except Exception as problem:  # whatever another version may have written
            metrics.CORRUPT_ENTRIES.inc()
            _log.warn(
                "dropped the stored {kind} {key}: {problem}", kind=entry.kind, key=entry.key, problem=problem
            )
            commit(entry.kind, entry.key, None)

    objects = [entry for entry in entries if entry.kind == records.OBJECT]
    for entry in entries:
        if entry.kind != records.OBJECT:
            take(entry)
    entries.clear()
    while objects:  # after their views
        take(objects.pop())
    for collection in collections.all():
        if lacking := collection.finish_load():
            _log.warn(
                "{lacking} stored views of {resource} lack objects and count as partial",
                lacking=lacking,
                resource=qualified(collection.key.group, collection.key.resource),
            )


def _load_part(entry: Entry, collections: CollectionIndex) -> None:
    identity, group, version, resource, representation, *name = entry.key
    key = CollectionKey(identity, group, version, resource, parse_media_type(representation))
    collection = collections.make(key)
    if collection is None:
        raise DecodeError(f"objects as {representation} are not decoded")
    if entry.kind == records.VIEW:
        header, _ = records.unpack(records.ViewHeader, entry.value)
        collection.load_view(header)
    elif entry.kind == records.ABSENT:
        absent, _ = records.unpack(records.AbsentHeader, entry.value)
        collection.load_absent((name[0], name[1]), version_number(absent.version))
    elif entry.kind == records.SHARED:
        collection.load_shared(records.unpack(records.SharedHeader, entry.value)[1])
    else:
        stored, raw = records.unpack(records.ObjectHeader, entry.value)
        collection.load_object((name[0], name[1]), stored, raw)
