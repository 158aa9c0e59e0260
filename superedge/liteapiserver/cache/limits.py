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


class Limits(NamedTuple):
    """Bytes and objects that may be remembered."""

    size: int
    objects: int


class _Candidate(NamedTuple):
    """Something that no watch keeps up to date: when it was used last, and what forgets it."""

    used: float
    kind: str
    forget: Callable[[], None]


def _candidates(
    collections: Iterable[Collection], documents: Documents, commit: Commit
) -> Iterator[_Candidate]:
    for collection in collections:
        for view in collection.views.values():
            if not view.watchers:
                yield _Candidate(view.used, "view", partial(collection.forget_view, view))
        for name, stored in collection.objects.items():
            if not stored.views:
                yield _Candidate(stored.updated, "object", partial(collection.forget_object, name))
    for used, forget in documents.ages():
        yield _Candidate(used, "document", partial(forget, commit))


def trim(collections: Iterable[Collection], documents: Documents, limits: Limits, commit: Commit) -> None:
    """Forget what was used least lately until both limits hold; what open watches show stays."""
    collections = list(collections)

    def within(share: float) -> bool:
        objects = sum(len(collection.objects) for collection in collections)
        size = sum(collection.size for collection in collections) + documents.size
        return objects <= limits.objects * share and size <= limits.size * share

    if within(1.0):
        return
    for candidate in sorted(_candidates(collections, documents, commit), key=lambda each: each.used):
        if within(_ENOUGH):
            return
        candidate.forget()
        metrics.EVICTIONS.labels(candidate.kind).inc()
