"""Which sites there are: the values of a label of Nodes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from superedge.kube.json import decode

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


class _Metadata(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Node(msgspec.Struct):
    metadata: _Metadata


def read_labels(raw: bytes) -> Mapping[str, str]:
    """A Node's labels. Raises DecodeError."""
    node: Any = decode(_Node, raw)
    return node.metadata.labels or {}


class Sites:
    """The Nodes' labels, and for each followed key the nodes of each value. An empty value is no site."""

    def __init__(self) -> None:
        self._labels: dict[str, Mapping[str, str]] = {}
        self._keys: dict[str, dict[str, set[str]]] = {}

    def put(self, node: str, labels: Mapping[str, str] | None) -> list[tuple[str, str]]:
        """A Node's labels, None when it is gone. Returns the (key, site) that have appeared or vanished."""
        before = self._labels.get(node, {})
        if labels is None:
            self._labels.pop(node, None)
        else:
            self._labels[node] = labels
        changed = []
        for key, members in self._keys.items():
            old, new = before.get(key, ""), (labels or {}).get(key, "")
            if old == new:
                continue
            if old:
                members[old].discard(node)
                if not members[old]:
                    del members[old]
                    changed.append((key, old))
            if new:
                if new not in members:
                    members[new] = set()
                    changed.append((key, new))
                members[new].add(node)
        return changed

    def of(self, key: str) -> Mapping[str, set[str]]:
        """The sites of a key, with their nodes; the key is followed from now on."""
        found = self._keys.get(key)
        if found is None:
            found = self._keys[key] = {}
            for node, labels in self._labels.items():
                if site := labels.get(key):
                    found.setdefault(site, set()).add(node)
        return found

    def ordinal(self, key: str, site: str, label: str) -> tuple[int, float, str]:
        """Where a site stands among others by a label of its nodes: the least value counts."""
        nodes = self.of(key).get(site, ())
        values = [value for node in nodes if (value := self._labels[node].get(label))]
        return min(map(_ordinal, values), default=(2, 0.0, ""))


def _ordinal(value: str) -> tuple[int, float, str]:
    return (0, float(value), "") if _NUMBER.fullmatch(value) else (1, 0.0, value)
