"""The ConfigMap that names the nodes whose pods are kept: the word of the judge to whatever enforces it.

Under each node's name stands until when it is kept. An entry is written before the cluster acts on a node
that it has lost, renewed while that lasts, and taken away afterwards; one that nobody renews ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time

import msgspec
from twisted.internet.interfaces import IReactorTime

from superedge.health import metrics
from superedge.kube.client import CONFIGMAPS, MERGE_PATCH, IKubeClient, Problems, decode
from superedge.kube.errors import APIError
from superedge.kube.times import kube_time, read_time
from superedge.kube.workqueue import WorkQueue

NAME = "superedge-kept-nodes"
LIFE = 120.0
"""Seconds that an entry is good for."""
RENEW = 50.0
"""Seconds between two renewals of all."""
LOOK = 5.0
"""Seconds between two looks at whether entries are due: a clock that is set makes them so at once."""
RETRY = 5.0
"""Seconds between two attempts to write, at most: Kubernetes acts soon after the API server is back."""
GATHER = 0.1
"""Seconds that changes wait for others."""


class _Metadata(msgspec.Struct):
    resourceVersion: str = ""


class _ConfigMap(msgspec.Struct):
    metadata: _Metadata
    data: dict[str, str] = {}


def read_entries(raw: bytes) -> dict[str, str]:
    """The ConfigMap's data. Raises DecodeError."""
    found: _ConfigMap = decode(_ConfigMap, raw)
    return found.data


def read_kept(raw: bytes) -> dict[str, float]:
    """Nodes, and until when they are kept: seconds since 1970. Raises DecodeError."""
    found = {name: read_time(text) for name, text in read_entries(raw).items()}
    return {name: until for name, until in found.items() if until is not None}


class KeptNodes:
    """Writes the ConfigMap: what changed at once, everything again from time to time.

    It is told what the ConfigMap holds (`observed`), and writes again what somebody else removed or changed.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        client: IKubeClient,
        namespace: str,
        wall: Callable[[], float] = time,
    ) -> None:
        self._reactor = reactor
        self._client = client
        self._namespace = namespace
        self._path = CONFIGMAPS.path(namespace, NAME)
        self._wall = wall
        self._wanted: set[str] = set()
        self._extra: dict[str, float] = {}
        self._stored: dict[str, str] | None = None
        self._observed: dict[str, str] | None = None
        self.queue: WorkQueue[str] = WorkQueue(reactor, self._write, workers=1, maximum=RETRY)
        """To be started and stopped by the owner."""

    def keep(self, node: str, kept: bool) -> None:
        """Whether a node is kept from now on."""
        if kept is not (node in self._wanted):
            (self._wanted.add if kept else self._wanted.discard)(node)
            self.queue.add_after(NAME, GATHER)

    def begin(self) -> None:
        """Read what an earlier judge left; what is not wanted any more goes."""
        self.queue.add_after(NAME, GATHER)

    def observed(self, entries: dict[str, str] | None) -> None:
        """What a watch shows of the ConfigMap, None when it is gone: it may be older than the last write."""
        self._observed = {} if entries is None else entries
        if self._observed != self._stored:
            self.queue.add_after(NAME, GATHER)

    def holds(self, node: str) -> bool:
        """Whether a node's entry is written and good."""
        until = read_time((self._stored or {}).get(node, ""))
        return node in self._wanted and until is not None and until > self._wall()

    async def prove(self, node: str, until: float | None) -> None:
        """Write an entry of any time for a node, to try the enforcement; None takes it away."""
        if until is None:
            self._extra.pop(node, None)
        else:
            self._extra[node] = until
        await self._write(NAME)

    async def _write(self, _: str) -> None:
        try:
            stored = self._stored
            if stored is None or self._observed not in (None, stored):
                stored = await self._read()
            wanted = self._entries(stored)
            data: dict[str, str | None] = {
                node: text for node, text in wanted.items() if stored.get(node) != text
            }
            data.update((node, None) for node in stored if node not in wanted)
            if data:
                answer = await self._client.call(
                    "PATCH", self._path, body={"data": data}, content_type=MERGE_PATCH
                )
                metrics.WRITES.labels("kept", "done").inc()
                stored = decode(_ConfigMap, answer).data
            self._stored = stored
        except Problems:
            self._stored = None
            metrics.WRITES.labels("kept", "failed").inc()
            raise
        if self._wanted:
            self.queue.add_after(NAME, LOOK)

    async def _read(self) -> dict[str, str]:
        try:
            return read_entries(await self._client.call("GET", self._path))
        except APIError as problem:
            if problem.code != 404:
                raise
        empty = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": {}}
        await self._client.call("POST", CONFIGMAPS.path(self._namespace), body=empty)
        return {}

    def _entries(self, stored: dict[str, str]) -> dict[str, str]:
        """What is to be there; all entries are renewed together, when the first of them is due."""
        now = self._wall()
        ends = [read_time(stored.get(node, "")) for node in self._wanted]
        renew = any(end is not None and not LIFE - RENEW < end - now <= LIFE + 1 for end in ends)
        found = {}
        for node, end in zip(self._wanted, ends, strict=True):
            found[node] = kube_time(now + LIFE) if end is None or renew else stored[node]
        for node, until in self._extra.items():
            found.setdefault(node, kube_time(until))
        return found
