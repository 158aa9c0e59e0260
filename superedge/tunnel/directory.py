"""Maps node names to addresses and addresses to nodes, for the DNS server and for `connect` listeners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from superedge.kube.nodes import NodeIndex
from superedge.net.names import is_address
from superedge.tunnel.names import NameRules
from superedge.tunnel.nodetable import NodeTable
from superedge.tunnel.replicas.registry import KubernetesRegistry


class Location(NamedTuple):
    """A node, and the host that it dials; empty for the node itself."""

    node: str
    host: str = ""


class NodeDirectory:
    """The nodes of all replicas. ``own``: the addresses at which callers reach this replica's listeners."""

    def __init__(
        self,
        own: Sequence[str],
        table: NodeTable,
        registry: KubernetesRegistry | None = None,
        index: NodeIndex | None = None,
        names: NameRules | None = None,
    ) -> None:
        """``names`` decides which names no node may have."""
        self._names = names or NameRules()
        self._own = tuple(own)
        self._table = table
        self._registry = registry
        self._index = index
        self._by_address: dict[str, list[str]] | None = None
        self._watchers: list[Callable[[], None]] = []
        table.subscribe(lambda node, session: self.changed())
        if registry is not None:
            registry.on_change(self.changed)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back after a node connected, disconnected, moved, or changed its addresses."""
        self._watchers.append(callback)

    def changed(self) -> None:
        """A session, a route or a Node object has changed: call back."""
        self._by_address = None
        for callback in self._watchers:
            callback()

    def serving(self, node: str) -> Sequence[str]:
        """Addresses of the replica through which callers reach a connected node; empty for any other name.

        It is the replica that holds the node. If that is about to stop, it is another: each replica forwards.
        """
        session = self._table.get(node)
        routes = self._registry.routes(node) if self._registry is not None else []
        if session is not None and not (routes and routes[0].epoch > session.epoch):
            return self._here()
        if not routes:
            return ()
        holder = routes[0].replica
        if holder.addresses and not holder.draining:
            return holder.addresses
        return self._here() or holder.addresses

    def _here(self) -> Sequence[str]:
        """Addresses of this replica, or of another one while this one is leaving."""
        if self._registry is None or not self._registry.draining:
            return self._own
        staying = (each for each in self._registry.replicas() if each.addresses and not each.draining)
        other = next(staying, None)
        return self._own if other is None else other.addresses

    def own(self, node: str) -> Sequence[str] | None:
        """The addresses in the Node object; None without one, or when Node objects are not read."""
        if self._index is None or self._names.is_reserved(node):
            return None
        return self._index.addresses(node)

    def names_at(self, address: str) -> Sequence[str]:
        """The nodes that resolve to an address, sorted."""
        if self._by_address is None:
            self._by_address = {}
            for node, addresses in self.entries():
                for each in addresses:
                    self._by_address.setdefault(each, []).append(node)
        return self._by_address.get(address, ())

    def entries(self) -> list[tuple[str, Sequence[str]]]:
        """Every connected node and what it resolves to, by name."""
        names = {session.node for session in self._table}
        if self._registry is not None:
            names |= self._registry.nodes()
        found = ((node, self.serving(node)) for node in sorted(names))
        return [(node, addresses) for node, addresses in found if addresses]

    def held_here(self) -> int:
        """The number of nodes with a session on this replica."""
        return len(self._table)

    def locate(self, host: str) -> Location | None:
        """The node that an IP literal belongs to, as the node's own address or as the address of one of its
        pods."""
        if self._index is None or not is_address(host):
            return None
        claim = self._index.holder(host)
        return None if claim is None else Location(claim.node, host if claim.of_pods else "")

    def exists(self, node: str) -> bool:
        """Whether there is a Node object of that name, connected or not."""
        return self.own(node) is not None

    def reported(self, node: str) -> Sequence[str]:
        """The node's own addresses as it reports them: for targets on the node itself, never for routing."""
        session = self._table.get(node)
        reported_addresses = () if session is None else session.hello.addresses
        return self.own(node) or [host for host in reported_addresses if is_address(host)]
