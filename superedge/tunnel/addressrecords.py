"""Records in ConfigMaps which node holds which addresses, so that a restart does not change it.

docs/protocol.md specifies the ConfigMaps. All replicas write the same records: each follows the same Node
objects.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import msgspec
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.kube.client import CONFIGMAPS, MERGE_PATCH, IKubeClient
from superedge.kube.errors import APIError
from superedge.kube.json import decode
from superedge.kube.nodes import NodeIndex
from superedge.kube.workqueue import WorkQueue

LABEL, VALUE = "tunnel.superedge.io/records", "addresses"
PREFIX = "superedge-addresses-"
SHARDS = 16
"""ConfigMaps, each with the nodes of one remainder: 1 MiB holds some 10,000 of them."""
INTERVAL = 1.0
"""Seconds between a change and its write, and so between two writes of one ConfigMap."""

_LOAD = "the records of nodes' addresses"
_FORBIDDEN = 403
_NOT_FOUND = 404

_log = Logger()


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] | None = None


class _ConfigMaps(msgspec.Struct):
    items: list[_ConfigMap]


class AddressRecords(MultiService):
    """Settles the index once the records and all Node objects are read, and records what changes."""

    def __init__(
        self,
        reactor: IReactorTime,
        client: IKubeClient,
        namespace: str,
        index: NodeIndex,
        nodes_synced: Callable[[], Deferred[None]],
    ) -> None:
        """``nodes_synced`` fires when the index has all Node objects."""
        super().__init__()
        self._client = client
        self._namespace = namespace
        self._index = index
        self._nodes_synced = nodes_synced
        self._recorded: dict[str, str] = {}
        self._changed: dict[str, set[str]] = {}
        self._readable = True
        self.synced = False
        """Whether the index has accepted claims."""
        self._queue: WorkQueue[str] = WorkQueue(reactor, self._reconcile)
        self._queue.setServiceParent(self)
        self._queue.add(_LOAD)

    def changed(self, node: str) -> None:
        """The node holds other addresses than before."""
        if self.synced and self._readable:
            shard = f"{PREFIX}{crc32(node.encode()) % SHARDS}"
            self._changed.setdefault(shard, set()).add(node)
            self._queue.add_after(shard, INTERVAL)

    async def _reconcile(self, key: str) -> None:
        if key == _LOAD:
            await self._load()
        else:
            await self._write(key)

    async def _load(self) -> None:
        query = {"labelSelector": f"{LABEL}={VALUE}"}
        try:
            found = decode(
                _ConfigMaps, await self._client.call("GET", CONFIGMAPS.path(self._namespace), query)
            )
        except APIError as problem:
            if problem.code != _FORBIDDEN:
                raise
            self._readable = False
            _log.warn(
                "which node holds an address is not kept over a restart, after which the older of two that"
                " claim it gets it: {problem}",
                problem=problem,
            )
        else:
            for each in found.items:
                self._recorded.update(each.data or {})
        await self._nodes_synced()
        self._index.settle({node: frozenset(text.split()) for node, text in self._recorded.items()})
        self.synced = True
        for node in self._recorded.keys() | self._index.names():
            if self._held(node) != self._recorded.get(node):
                self.changed(node)

    async def _write(self, shard: str) -> None:
        nodes = self._changed.pop(shard, set())
        held = {node: self._held(node) for node in nodes}
        data = {node: text for node, text in held.items() if text != self._recorded.get(node)}
        if not data:
            return
        try:
            await self._send(shard, data)
        except Exception:
            self._changed.setdefault(shard, set()).update(nodes)
            raise
        for node, text in data.items():
            if text is None:
                self._recorded.pop(node, None)
            else:
                self._recorded[node] = text

    async def _send(self, shard: str, data: dict[str, str | None]) -> None:
        path = CONFIGMAPS.path(self._namespace, shard)
        try:
            await self._client.call("PATCH", path, body={"data": data}, content_type=MERGE_PATCH)
        except APIError as problem:
            if problem.code != _NOT_FOUND:
                raise
            there = {
                node: text
                for node, text in self._recorded.items()
                if f"{PREFIX}{crc32(node.encode()) % SHARDS}" == shard
            }
            whole = {node: text for node, text in (there | data).items() if text is not None}
            metadata = {"name": shard, "labels": {LABEL: VALUE}}
            body = {"metadata": metadata, "data": whole}
            await self._client.call("POST", CONFIGMAPS.path(self._namespace), body=body)

    def _held(self, node: str) -> str | None:
        return " ".join(self._index.held(node)) or None
