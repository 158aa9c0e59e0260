"""Opens streams for listeners: on a session of this replica, or through the replica that holds the node."""

from __future__ import annotations

from twisted.logger import Logger

from superedge.mux.stream import MuxStream
from superedge.tunnel.cloud import StreamCallback, TunnelCloud
from superedge.tunnel.errors import DialError
from superedge.tunnel.messages import DialRequest
from superedge.tunnel.replicas.links import ReplicaLinks
from superedge.tunnel.replicas.registry import KubernetesRegistry
from superedge.tunnel.replicas.routes import Route
from superedge.tunnel.serve import MAX_REASON

_log = Logger()


class Router:
    """`superedge.tunnel.cloud.Tunnel` over all replicas: the newest session of a node serves it."""

    def __init__(self, cloud: TunnelCloud, registry: KubernetesRegistry, links: ReplicaLinks) -> None:
        self._cloud = cloud
        self._registry = registry
        self._links = links

    def knows(self, node: str) -> bool:
        """Whether the node is connected to any replica."""
        return self._cloud.knows(node) or bool(self._registry.routes(node))

    async def open(
        self,
        node: str,
        address: str,
        *,
        timeout: float,
        kind: str = "tcp",
        on_stream: StreamCallback | None = None,
        caller: str = "",
    ) -> MuxStream:
        """A paused stream to ``address``, connected by the node's handler of ``kind``. Raises DialError.

        A moved node is known here with a delay. If a replica does not hold the node any more, the next newest
        session is tried, each replica once. ``on_stream`` is used only for a session here, which is tried
        last.
        """
        tried: set[str] = set()
        request = DialRequest(kind, address, timeout, caller)
        while (route := self._next(node, tried)) is not None:
            tried.add(route.replica.name)
            try:
                return await self._links.open(route.replica, node, request)
            except DialError as problem:
                _log.warn(
                    "dial of {address} on {node} through replica {replica} failed: {code}: {reason}",
                    node=node,
                    address=address[:MAX_REASON],
                    replica=route.replica.name,
                    code=problem.code,
                    reason=problem.message,
                )
                if problem.code != "not-connected" or self._last(node, tried):
                    raise
        return await self._cloud.open(
            node, address, timeout=timeout, kind=kind, on_stream=on_stream, caller=caller
        )

    def _next(self, node: str, tried: set[str]) -> Route | None:
        """The route to the newest session elsewhere that was not tried, unless the session here is newer."""
        session = self._cloud.nodes.get(node)
        here = session.epoch if session is not None else 0
        routes = (route for route in self._registry.routes(node) if route.replica.name not in tried)
        return next((route for route in routes if route.epoch > here), None)

    def _last(self, node: str, tried: set[str]) -> bool:
        return self._next(node, tried) is None and not self._cloud.knows(node)
