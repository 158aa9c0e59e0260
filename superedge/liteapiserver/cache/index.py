"""All collections, by key and by resource. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from superedge.kube.codecs import codec_for
from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.objects import CollectionKey
from superedge.liteapiserver.cache.policy import Keep, Policy
from superedge.liteapiserver.cache.records import Commit

_Key = TypeVar("_Key")


def in_memory(_kind: str, _key: tuple[str, ...], _value: bytes | None) -> None:
    """The `Commit` of records that must not reach the store."""


def _remove(index: dict[_Key, list[Collection]], key: _Key, collection: Collection) -> None:
    index[key].remove(collection)
    if not index[key]:
        del index[key]


class CollectionIndex:
    """The collections of all identities. A lookup never crosses identities."""

    def __init__(self, policy: Policy, commit: Commit, clock: Callable[[], float]) -> None:
        """``commit`` makes one record durable, or deletes it; ``clock`` gives Unix time."""
        self._policy = policy
        self._commit = commit
        self._clock = clock
        self._by_key: dict[CollectionKey, Collection] = {}
        # The collections of an identity's resource, one for each representation.
        self._by_resource: dict[tuple[str, str, str, str], list[Collection]] = {}
        # The same in every version of the API group.
        self._of_any_version: dict[tuple[str, str, str], list[Collection]] = {}

    def commit_for(self, keep: Keep) -> Commit:
        """The commit function for a policy's verdict."""
        return self._commit if keep is Keep.STORED else in_memory

    def get(self, key: CollectionKey) -> Collection | None:
        """The collection of a key."""
        return self._by_key.get(key)

    def make(self, key: CollectionKey) -> Collection | None:
        """The collection of a key, created if new; None for a representation that is not decoded."""
        collection = self._by_key.get(key)
        if collection is None:
            codec = codec_for(key.representation)
            if codec is None:
                return None
            commit = self.commit_for(self._policy.for_resource(key.group, key.resource))
            collection = self._by_key[key] = Collection(key, codec, commit, self._clock, self._reset)
            self._by_resource.setdefault(key[:4], []).append(collection)
            self._of_any_version.setdefault((key.identity, key.group, key.resource), []).append(collection)
        return collection

    def retire_empty(self) -> bool:
        """Remove empty collections, whose resource or identity may not exist; whether there were any."""
        empty = [collection for collection in self._by_key.values() if not collection.records]
        for collection in empty:
            collection.retire()
            key = collection.key
            del self._by_key[key]
            _remove(self._by_resource, key[:4], collection)
            _remove(self._of_any_version, (key.identity, key.group, key.resource), collection)
        return bool(empty)

    def _reset(self, collection: Collection) -> None:
        for each in self._by_resource[collection.key[:4]]:
            each.reset()

    def of(self, identity: str, request: RequestInfo) -> list[Collection]:
        """The collections of a request's resource, one for each representation."""
        return self._by_resource.get((identity, request.group, request.version, request.resource), [])

    def of_any_version(self, identity: str, request: RequestInfo) -> list[Collection]:
        """The collections of a request's resource in every version of its API group."""
        return self._of_any_version.get((identity, request.group, request.resource), [])

    def all(self) -> list[Collection]:
        """Every collection."""
        return list(self._by_key.values())
