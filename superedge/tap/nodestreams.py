"""What other components see of the tunnel's cloud end: sessions and streams, whichever replica holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zope.interface import implementer

from superedge.interfaces import INodeStreams
from superedge.tunnel.cloud import Tunnel
from superedge.tunnel.nodetable import NodeTable
from superedge.tunnel.replicas.registry import KubernetesRegistry


@implementer(INodeStreams)
class SessionStreams:
    """Over this replica's sessions, and the links to those of others."""

    def __init__(self, tunnel: Tunnel, table: NodeTable, registry: KubernetesRegistry | None) -> None:
        self._tunnel = tunnel
        self._table = table
        self._registry = registry

    def sessions(self) -> Mapping[str, int]:
        """Each connected node's newest epoch."""
        found = {session.node: session.epoch for session in self._table}
        if self._registry is not None:
            for node in self._registry.nodes():
                for route in self._registry.routes(node)[:1]:
                    found[node] = max(route.epoch, found.get(node, 0))
        return found

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back after a session came, went or moved."""
        self._table.subscribe(lambda node, session: callback())
        if self._registry is not None:
            self._registry.on_change(callback)

    async def open(self, node: str, kind: str, timeout: float) -> Any:
        """A paused stream. Raises DialError."""
        return await self._tunnel.open(node, "", timeout=timeout, kind=kind)
