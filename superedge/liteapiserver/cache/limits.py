"""What is forgotten when too much is remembered. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from superedge.liteapiserver import metrics
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.documents import Documents
from superedge.liteapiserver.cache.records import Commit

_ENOUGH = 0.9
"""The share of a limit that is left, so that not every new object costs an eviction."""
_FIRST = float("-inf")


class Limits(NamedTuple):
    """Bytes and records that may be remembered. Each object, view, document and 404 is a record."""

    size: int
    records: int


class _Candidate(NamedTuple):
    """Something that no watch keeps up to date: when it was used last, whose it is, and what forgets it."""

    used: float
    kind: str
    owner: Collection | Documents
    forget: Callable[[], None]


def _candidates(
    collections: Iterable[Collection], documents: Documents, commit: Commit
) -> Iterator[_Candidate]:
    for collection in collections:
        if collection.absent:
            yield _Candidate(_FIRST, "absence", collection, collection.forget_absent)
        for view in collection.views.values():
            if not view.watchers:
                yield _Candidate(view.used, "view", collection, partial(collection.forget_view, view))
        for name, stored in collection.objects.items():
            if not stored.views:
                forget = partial(collection.forget_object, name)
                yield _Candidate(stored.updated, "object", collection, forget)
    for used, forget_document in documents.ages():
        yield _Candidate(used, "document", documents, partial(forget_document, commit))


def trim(collections: Iterable[Collection], documents: Documents, limits: Limits, commit: Commit) -> None:
    """Forget what was used least lately until both limits hold; what open watches show stays."""
    collections = list(collections)
    owners: list[Collection | Documents] = [*collections, documents]
    size = sum(owner.size for owner in owners)
    records = sum(owner.records for owner in owners)

    def within(share: float) -> bool:
        return records <= limits.records * share and size <= limits.size * share

    if within(1.0):
        return
    candidates = _candidates(collections, documents, commit)
    for candidate in sorted(candidates, key=lambda each: each.used):
        if within(_ENOUGH):
            return
        owner = candidate.owner
        size, records = size - owner.size, records - owner.records
        candidate.forget()
        size, records = size + owner.size, records + owner.records
        metrics.EVICTIONS.labels(candidate.kind).inc()
