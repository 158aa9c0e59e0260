"""Ends the address reservations of pods that are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from superedge.errors import SuperEdgeError
from superedge.interfaces import IReactor
from superedge.kube.client import NODES, Resource
from superedge.kube.nodes import read_node
from superedge.netsnapshot import metrics
from superedge.netsnapshot.ipam.errors import IPAMError
from superedge.netsnapshot.ipam.store import Store
from superedge.netsnapshot.pods import PodName, Reservation, gone, read_pods
from superedge.reactor.periodic import PeriodicCall
from superedge.reactor.task import in_background

PODS = Resource("", "v1", "pods")
NODE_INTERVAL = 3600.0
"""Seconds between two reads of the Node object when nothing else needs it."""
_log = Logger()


class IConfirmedReader(Protocol):
    """Reads what the API server has now."""

    async def read_confirmed(self, path: str, query: dict[str, str] | None = None) -> bytes:
        """The body, unless it is from a cache: then Unavailable. Raises APIError, Unavailable."""


class Releaser(Service):
    """Asks the API server for the node's pods while there are reservations without a sandbox.

    A reservation ends when two lists in a row, both confirmed, whole and of this node, do not have its pod.
    """

    def __init__(
        self, reactor: IReactor, client: IConfirmedReader, node: str, store: Store, interval: float
    ) -> None:
        self._reactor = reactor
        self._client = client
        self._node = node
        self._store = store
        self._interval = interval
        self._periodic = PeriodicCall(reactor, interval or NODE_INTERVAL, self._begin, "ending reservations")
        self._current: Deferred[None] | None = None
        self._missing: set[Reservation] = set()
        self._kept: set[Reservation] = set()
        self._counts = {"attached": 0, "reserved": 0}
        self._released = 0
        self._confirmed: float | None = None
        self._node_read: float | None = None
        self._fault = ""
        self._on_networks: Callable[[], None] = lambda: None
        self.networks: tuple[str, ...] = ()
        """The node's pod networks, as its Node object has them; empty until it is read."""

    def on_networks(self, callback: Callable[[], None]) -> None:
        """Call back after `networks` changed."""
        self._on_networks = callback

    def status(self) -> dict[str, object]:
        """For the status page; the age of the last confirmed list is in seconds."""
        age = None if self._confirmed is None else round(self._reactor.seconds() - self._confirmed, 1)
        return {**self._counts, "released": self._released, "confirmed_age": age, "fault": self._fault}

    def startService(self) -> None:
        super().startService()
        self._periodic.start(now=True)

    def stopService(self) -> None:
        """End what is under way."""
        super().stopService()
        self._periodic.stop()
        if self._current is not None:
            self._current.cancel()

    def _begin(self) -> None:
        if self._current is None:
            self._current = in_background(self._run(), _log, "ending reservations failed")
            self._current.addBoth(self._ended)

    def _ended(self, _: object) -> None:
        self._current = None

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)

    async def _run(self) -> None:
        try:
            await self._look()
        except (SuperEdgeError, IPAMError, OSError) as problem:
            self._missing.clear()
            text = str(problem)
            if text != self._fault:
                _log.info("no reservations are ended for now: {problem}", problem=text)
            self._fault = text
        else:
            self._fault = ""

    async def _look(self) -> None:
        now = self._reactor.seconds()
        found = await self._in_thread(self._store.reservations) if self._interval else []
        attached = {
            PodName(each.namespace, each.pod) for each in found if each.state == "attached" and each.pod
        }
        reserved = {
            Reservation(PodName(each.namespace, each.pod), each.uid)
            for each in found
            if each.state == "reserved" and each.pod
        }
        self._kept &= reserved
        reserved -= self._kept
        self._count("attached", sum(each.state == "attached" for each in found))
        self._count("reserved", sum(each.state == "reserved" for each in found))
        if reserved or self._node_read is None or now - self._node_read >= NODE_INTERVAL:
            await self._read_node()
        if reserved:
            query = {"fieldSelector": f"spec.nodeName={self._node}"}
            pods = read_pods(await self._client.read_confirmed(PODS.path(), query), self._node)
            missing = gone(reserved, attached, pods)
            await self._release(missing & self._missing)
            self._missing = missing
            self._confirmed = self._reactor.seconds()

    def _count(self, state: str, number: int) -> None:
        self._counts[state] = number
        metrics.RESERVATIONS.labels(state).set(number)

    async def _read_node(self) -> None:
        """That it is there says that the configured name is one."""
        node = read_node(await self._client.read_confirmed(NODES.path(name=self._node)))
        self._node_read = self._reactor.seconds()
        networks = tuple(map(str, node.networks))
        if networks and networks != self.networks:
            self.networks = networks
            self._on_networks()

    async def _release(self, over: Iterable[Reservation]) -> None:
        for each in over:
            pod = each.pod
            released = await self._in_thread(self._store.release, pod.namespace, pod.name, each.uid)
            if not released:
                self._kept.add(each)  # by the configuration of its network: asking again does not change that
            for ended in released:
                self._released += 1
                metrics.RELEASED.inc()
                _log.info(
                    "{addresses}: reserved no more, the pod {namespace}/{pod} is gone",
                    addresses=", ".join(ended.addresses),
                    namespace=ended.namespace,
                    pod=ended.pod,
                )
