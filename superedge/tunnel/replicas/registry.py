"""The registry in Kubernetes: publishes this replica's nodes, and follows the other replicas' nodes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from random import Random
from time import time
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from superedge.config.addresses import TCPAddress
from superedge.kube.client import CONFIGMAPS, LEASES, MERGE_PATCH, IKubeClient, Problems
from superedge.kube.errors import APIError, Unavailable
from superedge.kube.reflector import Key, Reflector
from superedge.reactor.loops import Loop
from superedge.reactor.task import in_background
from superedge.tunnel import metrics
from superedge.tunnel.nodetable import NodeSession, NodeTable
from superedge.tunnel.replicas.publisher import Publisher
from superedge.tunnel.replicas.records import (
    LABEL,
    Replica,
    Shard,
    lease,
    lease_name,
    read_lease,
    read_shard,
    shard_number,
    timestamp,
)
from superedge.tunnel.replicas.routes import Route, RouteTable

RENEWALS_PER_LEASE = 3
"""Renewals in one lease duration."""
RENEWAL_TIMEOUT = 30.0
"""Seconds within which one renewal has succeeded or failed."""
SHUTDOWN_WRITE_TIMEOUT = 3.0
"""Seconds for each write of a process that stops."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class OwnReplica:
    """This replica as it presents itself to the others."""

    name: str
    namespace: str
    peer: TCPAddress
    addresses: tuple[str, ...]
    duration: float


class KubernetesRegistry(Service):
    """``routes`` gives the other replicas that hold a node; ``superseded`` is called for newer sessions
    there."""

    name = "tunnel-registry"

    def __init__(
        self,
        reactor: IReactorTime,
        client: IKubeClient,
        own: OwnReplica,
        table: NodeTable,
        superseded: Callable[[str, int], None],
        wall: Callable[[], float] = time,
        random: Random | None = None,
    ) -> None:
        self._reactor = reactor
        self._client = client
        self._own = own
        self._table = table
        self._superseded = superseded
        self._wall = wall
        self._instance = uuid.uuid4().hex
        self._draining = False
        self._routes = RouteTable(own.name, own.duration, table.epochs)
        self._publisher = Publisher(reactor, client, own.namespace, own.name)
        self._shards: Reflector[Shard] = Reflector(
            reactor,
            client,
            CONFIGMAPS.path(own.namespace),
            read_shard,
            self._shard_changed,
            LABEL,
            random,
        )
        self._leases: Reflector[Replica] = Reflector(
            reactor,
            client,
            LEASES.path(own.namespace),
            read_lease,
            self._lease_changed,
            LABEL,
            random,
        )
        self._renewal = Loop(reactor, "renewing the Lease", self._renew, RENEWAL_TIMEOUT)
        self._failing = False
        self._renewed = False
        self._collecting: set[str] = set()
        self._watchers: list[Callable[[], None]] = []

    # -- queries

    @property
    def synced(self) -> bool:
        """Whether the others' records have been read."""
        return self._leases.synced and self._shards.synced

    @property
    def draining(self) -> bool:
        """Whether this replica is stopping."""
        return self._draining

    def routes(self, node: str) -> list[Route]:
        """Other replicas that hold the node, the newest session first."""
        return self._routes.routes(node)

    def replicas(self) -> list[Replica]:
        """The other replicas whose Lease has not expired."""
        return self._routes.replicas()

    def nodes(self) -> set[str]:
        """The nodes that other replicas have published."""
        return set(self._routes.nodes())

    def count(self, name: str) -> int:
        """The number of nodes that a replica has published."""
        return self._routes.count(name)

    def is_first(self) -> bool:
        """Whether this replica's name sorts before all other live replicas': it does the work of which one is
        enough."""
        return all(self._own.name < replica.name for replica in self._routes.replicas())

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back after a change of routes, replicas or draining."""
        self._watchers.append(callback)

    # -- life

    def startService(self) -> None:
        """Start following, publishing and renewing."""
        super().startService()
        self._table.subscribe(self._table_changed)
        self._publisher.start()
        self._leases.startService()
        self._shards.startService()
        self._renewal.start()

    async def leave(self) -> None:
        """Mark this replica as draining, and wait a bounded time for that to be written."""
        self._draining = True
        self._notify()
        await self._write_at_shutdown(self._write_lease(), "announce the end")

    async def stopService(self) -> None:
        """Delete everything that was published."""
        super().stopService()
        for part in (self._leases, self._shards):
            part.stopService()
        self._renewal.stop()
        await self._write_at_shutdown(self._publisher.withdraw(), "withdraw its nodes")
        path = LEASES.path(self._own.namespace, lease_name(self._own.name))
        await self._write_at_shutdown(self._client.call("DELETE", path), "remove its Lease")

    async def _write_at_shutdown(self, writing: Coroutine[Any, Any, object], what: str) -> None:
        done: Deferred[object] = Deferred.fromCoroutine(writing)
        try:
            await done.addTimeout(SHUTDOWN_WRITE_TIMEOUT, self._reactor)
        except (APIError, Unavailable, TimeoutError) as problem:
            if isinstance(problem, TimeoutError):
                problem = Unavailable(f"no answer within {SHUTDOWN_WRITE_TIMEOUT:g} s")
            _log.warn("this replica could not {what}: {problem}", what=what, problem=problem)

    # -- the lease

    async def _renew(self) -> None:
        while True:
            pause = self._own.duration / RENEWALS_PER_LEASE
            try:
                await self._write_lease()
            except Problems as problem:
                pause /= 2
                if not self._failing:
                    self._failing = True
                    _log.warn("cannot renew the Lease: {problem}", problem=problem)
            else:
                if self._failing:
                    self._failing = False
                    _log.info("renewing the Lease again")
            self._collect()
            self._renewal.iteration_done(pause + RENEWAL_TIMEOUT)
            await deferLater(self._reactor, pause)

    async def _write_lease(self) -> None:
        own = self._own
        state = Replica(
            own.name,
            self._instance,
            timestamp(self._wall()),
            own.duration,
            own.peer,
            own.addresses,
            self._draining,
        )
        path = LEASES.path(own.namespace, lease_name(own.name))
        item = lease(state)
        try:
            await self._client.call("PATCH", path, body=item, content_type=MERGE_PATCH)
        except APIError as problem:
            if problem.code != 404:
                raise
            await self._client.call("POST", LEASES.path(own.namespace), body=item)
        self._renewed = True

    # -- changes

    def _table_changed(self, node: str, session: NodeSession | None) -> None:
        if session is None:
            self._publisher.remove(node)
        else:
            self._publisher.put(node, session.epoch, self._wall())

    def _lease_changed(self, key: Key, replica: Replica | None) -> None:
        name = replica.name if replica is not None else self._replica_of(key.name)
        if name == self._own.name and replica is not None and self._renewed:
            self._check_instance(replica)
        before = self._living()
        self._routes.lease_changed(name, replica, self._reactor.seconds())
        after = self._living()
        if before != after:
            metrics.REPLICAS.set(1 + len(after))
            self._notify()

    def _living(self) -> list[Replica]:
        return [replace(replica, renewed="") for replica in self._routes.replicas()]

    def _replica_of(self, lease: str) -> str:
        return lease.removeprefix(lease_name(""))

    def _check_instance(self, replica: Replica) -> None:
        if replica.instance != self._instance:
            _log.error(
                "another process uses the replica name {name}: give each replica its own name",
                name=self._own.name,
            )

    def _shard_changed(self, key: Key, shard: Shard | None) -> None:
        own = shard_number(self._own.name, key.name)
        if own is not None and (shard is None or shard.replica == self._own.name):
            if shard is None:
                self._publisher.missing(own)
            else:
                self._publisher.found(own)
                for epoch in shard.nodes.values():
                    self._table.epochs.observe(epoch)
            return
        changed = self._routes.shard_changed(key.name, shard, self._reactor.seconds())
        for node in changed:
            session = self._table.get(node)
            if session is not None:
                best = self._routes.routes(node)
                if best and best[0].epoch > session.epoch:
                    self._superseded(node, best[0].epoch)
        if changed:
            metrics.REMOTE_NODES.set(len(self._routes.nodes()))
            self._notify()

    def _notify(self) -> None:
        for callback in self._watchers:
            callback()

    # -- garbage collection

    def _collect(self) -> None:
        """Delete the records of replicas whose Lease expired long ago; the first live replica does this."""
        if not self.is_first():
            return
        for name, shards in self._routes.dead():
            if name not in self._collecting:
                self._collecting.add(name)
                done = in_background(self._remove(name, shards), _log, "collecting failed")
                done.addCallback(self._collected, name)

    def _collected(self, _: None, name: str) -> None:
        self._collecting.discard(name)

    async def _remove(self, name: str, shards: list[str]) -> None:
        _log.info("replica {name} is dead: removing what it published", name=name)
        paths = [CONFIGMAPS.path(self._own.namespace, shard) for shard in shards]
        paths.append(LEASES.path(self._own.namespace, lease_name(name)))
        for path in paths:
            try:
                await self._client.call("DELETE", path)
            except APIError as problem:
                if problem.code != 404:
                    _log.warn("cannot remove {path}: {problem}", path=path, problem=problem)
                    return
            except Problems as problem:
                _log.warn("cannot remove {path}: {problem}", path=path, problem=problem)
                return
