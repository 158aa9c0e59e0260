"""Publishes the nodes that this replica holds as ConfigMaps: changes only, at most once a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.kube.client import CONFIGMAPS, MERGE_PATCH, IKubeClient, Problems
from superedge.kube.errors import APIError
from superedge.kube.json import decode
from superedge.reactor.backoff import Backoff
from superedge.reactor.loops import LoopMonitor
from superedge.reactor.task import in_background
from superedge.tunnel import metrics
from superedge.tunnel.replicas.records import configmap, node_value, shard_name

INTERVAL = 1.0
"""Least seconds between two writes."""
BATCH_DELAY = 0.02
"""Seconds that a change waits for further changes if there was no write in the last interval."""
SHARD_BYTES = 400_000
"""Most bytes of one ConfigMap, as `_cost` counts.

The API server accepts 1 MiB of data in a 1.5 MiB object.
"""

_log = Logger()


def _cost(node: str, value: str) -> int:
    """Bytes of a node in the stored object; managedFields repeats the key."""
    return 2 * len(node) + len(value) + 24


@dataclass(slots=True)
class _Shard:
    """One ConfigMap. ``stored`` is the data that the API server acknowledged; None if unknown.

    ``deleted`` says that it was deleted while a write was under way, which may have come before.
    """

    wanted: dict[str, str] = field(default_factory=dict)
    stored: dict[str, str] | None = None
    deleted: bool = False
    version: str = ""
    size: int = 0


class _Meta(msgspec.Struct):
    resourceVersion: str = ""


class _Object(msgspec.Struct):
    metadata: _Meta


class Publisher:
    """Writes the ConfigMaps of one replica. A failed write is tried again, so no change is lost."""

    def __init__(self, reactor: IReactorTime, client: IKubeClient, namespace: str, replica: str) -> None:
        self._reactor = reactor
        self._client = client
        self._namespace = namespace
        self._replica = replica
        self._shards = [_Shard()]
        self._place: dict[str, int] = {}
        # The numbers of changed shards, in the order to write them.
        self._dirty: dict[int, None] = {}
        self._next = float("-inf")
        self._backoff = Backoff(initial=1.0, maximum=10.0, stable=30.0)
        self._call: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None
        self._failing = False
        self._stopped = True
        self._monitor = LoopMonitor(reactor, "publishing nodes")

    def start(self) -> None:
        """Start, and overwrite what an earlier process left in the first ConfigMap."""
        self._stopped = False
        self._monitor.start(None)
        self._touch(0)

    def put(self, node: str, epoch: int, since: float) -> None:
        """Publish the node with its session's epoch and start (seconds since 1970)."""
        value = node_value(epoch, since)
        number = self._place.get(node)
        if number is None:
            cost = _cost(node, value)
            fitting = (at for at, shard in enumerate(self._shards) if shard.size + cost <= SHARD_BYTES)
            number = next(fitting, len(self._shards))
            self._extend(number)
            self._place[node] = number
            self._shards[number].size += cost
        self._shards[number].wanted[node] = value
        self._touch(number)

    def remove(self, node: str) -> None:
        """The node's session has ended."""
        number = self._place.pop(node, None)
        if number is not None:
            shard = self._shards[number]
            shard.size -= _cost(node, shard.wanted.pop(node))
            self._touch(number)

    def found(self, number: int) -> None:
        """A ConfigMap from an earlier process of this replica exists: overwrite it."""
        if number >= len(self._shards):
            self._extend(number)
            self._touch(number)

    def missing(self, number: int) -> None:
        """A ConfigMap of this replica was deleted: create it again."""
        if number < len(self._shards):
            shard = self._shards[number]
            shard.stored, shard.deleted = None, True
            self._touch(number)

    async def withdraw(self) -> None:
        """Stop, and delete the ConfigMaps. Raises the client's errors."""
        self.stop()
        for number in range(len(self._shards)):
            path = CONFIGMAPS.path(self._namespace, shard_name(self._replica, number))
            try:
                await self._client.call("DELETE", path)
            except APIError as problem:
                if problem.code != 404:
                    raise

    def stop(self) -> None:
        self._stopped = True
        self._monitor.stop()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._writing is not None:
            self._writing.cancel()

    def _extend(self, number: int) -> None:
        while len(self._shards) <= number:
            self._shards.append(_Shard())

    def _touch(self, number: int) -> None:
        self._dirty.setdefault(number)
        self._schedule()

    def _schedule(self) -> None:
        if self._dirty and not self._stopped and self._call is None and self._writing is None:
            delay = max(BATCH_DELAY, self._next - self._reactor.seconds())
            self._call = self._reactor.callLater(delay, self._begin)

    def _begin(self) -> None:
        self._call = None
        number = next(iter(self._dirty))
        del self._dirty[number]
        # The first write of a shard is usually empty, and the next node should not wait for the interval.
        pause = INTERVAL if self._shards[number].stored is not None else 0.0
        self._next = self._reactor.seconds() + pause
        self._writing = in_background(self._write(number), _log, "publishing nodes failed")
        self._writing.addCallback(self._written)

    def _written(self, _: None) -> None:
        self._writing = None
        self._schedule()

    async def _write(self, number: int) -> None:
        shard = self._shards[number]
        shard.deleted = False
        try:
            if shard.stored is None:
                await self._replace(number, shard)
            else:
                await self._patch(number, shard, shard.stored)
        except CancelledError:
            raise
        except Exception as problem:
            self._dirty.setdefault(number)
            self._next = self._reactor.seconds() + self._backoff.failed(self._reactor.seconds())
            if not isinstance(problem, Problems):
                self._monitor.failed(Failure())
            metrics.REGISTRY_WRITES.labels("failed").inc()
            if not self._failing:
                self._failing = True
                _log.warn("cannot publish nodes: {problem}", problem=problem)
        else:
            self._monitor.succeeded(None)
            if self._failing:
                self._failing = False
                self._backoff.connected(self._reactor.seconds())
                _log.info("publishing nodes again")

    async def _replace(self, number: int, shard: _Shard) -> None:
        """Create or replace the whole ConfigMap."""
        path = CONFIGMAPS.path(self._namespace, shard_name(self._replica, number))
        wanted = dict(shard.wanted)
        item: Any = configmap(self._replica, number, wanted)
        try:
            answer = await self._client.call("POST", CONFIGMAPS.path(self._namespace), body=item)
        except APIError as problem:
            if problem.reason != "AlreadyExists":
                raise
            there = decode(_Object, await self._client.call("GET", path))
            item["metadata"]["resourceVersion"] = there.metadata.resourceVersion
            answer = await self._client.call("PUT", path, body=item)
        self._acknowledge(shard, wanted, answer)

    async def _patch(self, number: int, shard: _Shard, stored: dict[str, str]) -> None:
        """Write the difference from the version that was acknowledged last."""
        wanted = dict(shard.wanted)
        data: dict[str, str | None] = {
            node: value for node, value in wanted.items() if stored.get(node) != value
        }
        data.update((node, None) for node in stored if node not in wanted)
        if not data:
            return
        path = CONFIGMAPS.path(self._namespace, shard_name(self._replica, number))
        patch = {"metadata": {"resourceVersion": shard.version}, "data": data}
        try:
            answer = await self._client.call("PATCH", path, body=patch, content_type=MERGE_PATCH)
        except APIError as problem:
            if problem.code not in (404, 409):
                raise
            if problem.code == 409:
                _log.warn("{path} was changed by another client; it is overwritten", path=path)
            await self._replace(number, shard)
        else:
            self._acknowledge(shard, wanted, answer)

    def _acknowledge(self, shard: _Shard, wanted: dict[str, str], answer: bytes) -> None:
        shard.stored = None if shard.deleted else wanted
        shard.version = decode(_Object, answer).metadata.resourceVersion
        metrics.REGISTRY_WRITES.labels("done").inc()
