"""Which nodes are in this node's site, for each Service. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

from superedge.kube.wire import varint

Unlabelled = Literal["everything", "nothing"]
"""What a node sees of a Service whose labels it has none of."""

_MAX_ALTERNATIVES = 16
"""Names up to which one search for all of them is faster than reading every endpoint's."""


class Site(NamedTuple):
    """The nodes whose endpoints are shown."""

    names: frozenset[bytes]

    def pattern(self, tag: int) -> re.Pattern[bytes] | None:
        """Finds protobuf fields with this tag that name one of the nodes; None when these are too many."""
        return _pattern(self.names, tag) if len(self.names) <= _MAX_ALTERNATIVES else None


@lru_cache(maxsize=64)
def _pattern(names: frozenset[bytes], tag: int) -> re.Pattern[bytes]:
    # A name comes after its field's tag and its length.
    fields = [re.escape(bytes([tag]) + varint(len(name)) + name) for name in sorted(names)]
    return re.compile(b"|".join(fields) if fields else b"(?!)")


class Topology:
    """The Services that have topology keys, and the labels of the nodes."""

    def __init__(self, node: str, unlabelled: Unlabelled) -> None:
        """``node`` is this node's name."""
        self._node = node
        self._unlabelled = unlabelled
        self._services: dict[tuple[str, str], tuple[str, ...]] = {}
        self._labels: dict[str, Mapping[str, str]] = {}
        self._sites: dict[tuple[str, ...], Site | None] = {}

    def put_service(self, namespace: str, name: str, keys: tuple[str, ...]) -> bool:
        """Take a Service's topology keys, none for a Service without; whether they changed."""
        if self._services.get((namespace, name), ()) == keys:
            return False
        if keys:
            self._services[namespace, name] = keys
        else:
            del self._services[namespace, name]
        return True

    def put_node(self, name: str, labels: Mapping[str, str]) -> bool:
        """Take a node's labels, none for a node that is gone; whether a site may have changed."""
        before = self._labels.get(name, {})
        if labels:
            self._labels[name] = labels
        else:
            self._labels.pop(name, None)
        keys = {key for each in self._services.values() for key in each}
        if all(before.get(key) == labels.get(key) for key in keys):
            if before != labels:
                self._sites.clear()  # of keys that are not in use now
            return False
        self._sites.clear()
        return True

    @property
    def in_use(self) -> bool:
        """Whether any Service has topology keys."""
        return bool(self._services)

    def site(self, service: tuple[str, str]) -> Site | None:
        """The nodes whose endpoints of a Service are shown; None for all endpoints."""
        keys = self._services.get(service)
        if keys is None:
            return None
        try:
            return self._sites[keys]
        except KeyError:
            found = self._sites[keys] = self._find(keys)
            return found

    def _find(self, keys: tuple[str, ...]) -> Site | None:
        own = self._labels.get(self._node, {})
        wanted = [(key, own[key]) for key in dict.fromkeys(keys) if key in own]
        if not wanted and self._unlabelled == "everything":
            return None
        names = (
            name
            for name, labels in self._labels.items()
            if any(labels.get(key) == value for key, value in wanted)
        )
        return Site(frozenset(name.encode() for name in names))
