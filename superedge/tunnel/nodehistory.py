"""The history of nodes: disconnected nodes, last errors, and takeovers. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

MAX_GONE = 1000
"""Disconnected nodes that are kept; the one that disconnected first is dropped first."""


@dataclass(frozen=True, slots=True)
class GoneNode:
    """A disconnected node. Times are in seconds since 1970."""

    name: str
    peer: str
    version: str
    connected_since: float
    gone_since: float
    reason: str


class NodeHistory:
    """Disconnected nodes, each node's last error, and the process that held its session before."""

    def __init__(self) -> None:
        self.gone: OrderedDict[str, GoneNode] = OrderedDict()
        self._errors: OrderedDict[str, str] = OrderedDict()
        self._replaced: OrderedDict[str, str] = OrderedDict()

    def disconnected(self, node: GoneNode) -> None:
        """A node's last session ended."""
        self.gone[node.name] = replace(node, version=node.version[:300], reason=node.reason[:300])
        self.gone.move_to_end(node.name)
        _bound(self.gone)
        self.failed(node.name, node.reason)

    def connected(self, node: str) -> None:
        """A node has a session again."""
        self.gone.pop(node, None)

    def failed(self, node: str, reason: str) -> None:
        """Record an error of the node's session or of a dial."""
        self._errors[node] = reason[:300]
        self._errors.move_to_end(node)
        _bound(self._errors)

    def last_error(self, node: str) -> str:
        """The node's last error; empty for none."""
        return self._errors.get(node, "")

    def record_takeover(self, node: str, before: str, now: str) -> bool:
        """Record that process ``now`` replaced ``before``. Return whether each has replaced the other.

        Then both run, with the same certificate.
        """
        if not before or not now or before == now:
            return False
        shared = self._replaced.get(node) == now
        self._replaced[node] = before
        self._replaced.move_to_end(node)
        _bound(self._replaced)
        return shared


def _bound(entries: OrderedDict[str, GoneNode] | OrderedDict[str, str]) -> None:
    if len(entries) > MAX_GONE:
        entries.popitem(last=False)
