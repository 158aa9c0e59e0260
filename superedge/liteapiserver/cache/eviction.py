"""Evicts from the cache what was used least recently, until the limits hold. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from superedge.liteapiserver import metrics
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.documents import Documents
from superedge.liteapiserver.cache.records import Commit
from superedge.liteapiserver.cache.shares import share_of

_ENOUGH = 0.9
"""The fraction of a limit to evict down to, so that not every new object causes an eviction."""
_FIRST = float("-inf")


class Limits(NamedTuple):
    """Bytes, including keys, and records (objects, views, documents and 404s) that may be cached."""

    size: int
    records: int


class _Candidate(NamedTuple):
    """Something that may be evicted, since no watch keeps it up to date; ``used`` is Unix time."""

    used: float
    kind: str
    identity: str
    owner: Collection | Documents
    forget: Callable[[], None]


def _candidates(
    collections: Iterable[Collection], documents: Documents, commit: Commit
) -> Iterator[_Candidate]:
    for collection in collections:
        identity = collection.key.identity
        if collection.absent:
            yield _Candidate(_FIRST, "absence", identity, collection, collection.forget_absent)
        for view in collection.views.values():
            if not view.watchers:
                forget = partial(collection.forget_view, view)
                yield _Candidate(view.used, "view", identity, collection, forget)
        for name, stored in collection.objects.items():
            if not stored.views:
                forget = partial(collection.forget_object, name)
                yield _Candidate(stored.updated, "object", identity, collection, forget)
    for identity, used, forget_document in documents.ages():
        yield _Candidate(used, "document", identity, documents, partial(forget_document, commit))


class _Share:
    """What one share uses, and its candidates, the most recently used first."""

    def __init__(self, limits: Limits, weight: int) -> None:
        self._limits = limits
        self._weight = weight
        self.size = 0
        self.records = 0
        self.candidates: list[_Candidate] = []

    @property
    def use(self) -> float:
        """The fraction of the limits that is in use, divided by the share's weight."""
        return max(self.size / self._limits.size, self.records / self._limits.records) / self._weight


def _shares(
    collections: list[Collection], documents: Documents, limits: Limits, commit: Commit
) -> dict[str, _Share]:
    shares: dict[str, _Share] = {}
    by_identity: dict[str, _Share] = {}

    def share(identity: str) -> _Share:
        found = by_identity.get(identity)
        if found is None:
            name, weight = share_of(identity)
            found = by_identity[identity] = shares.setdefault(name, _Share(limits, weight))
        return found

    for collection in collections:
        found = share(collection.key.identity)
        found.size += collection.size
        found.records += collection.records
    for identity, count, size in documents.sizes():
        found = share(identity)
        found.size += size
        found.records += count
    for candidate in _candidates(collections, documents, commit):
        share(candidate.identity).candidates.append(candidate)
    for found in shares.values():
        found.candidates.sort(key=lambda each: each.used, reverse=True)
    return shares


def evict(collections: Iterable[Collection], documents: Documents, limits: Limits, commit: Commit) -> None:
    """Evict until both limits hold: each time the least recently used of the share with the greatest use.

    What open watches show stays.
    """
    collections = list(collections)
    owners: list[Collection | Documents] = [*collections, documents]
    size = sum(owner.size for owner in owners)
    records = sum(owner.records for owner in owners)

    def within(share: float) -> bool:
        return records <= limits.records * share and size <= limits.size * share

    if within(1.0):
        return
    shares = _shares(collections, documents, limits, commit)
    largest = [(-share.use, name) for name, share in shares.items()]
    heapify(largest)
    while largest and not within(_ENOUGH):
        _, name = heappop(largest)
        share = shares[name]
        if not share.candidates:
            continue
        candidate = share.candidates.pop()
        owner = candidate.owner
        size_before, records_before = owner.size, owner.records
        candidate.forget()
        freed, gone = size_before - owner.size, records_before - owner.records
        size, records = size - freed, records - gone
        share.size, share.records = share.size - freed, share.records - gone
        metrics.EVICTIONS.labels(candidate.kind).inc()
        heappush(largest, (-share.use, name))
