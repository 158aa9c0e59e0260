"""The ConfigMap of kept nodes, by which the policies or the webhook act.

Its keys are node names, its values the times until which they are kept. An entry is written before Kubernetes
acts on a node that it lost, renewed while the node is kept, and then removed. Without renewal it expires.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.health import metrics
from superedge.kube.client import CONFIGMAPS, MERGE_PATCH, IKubeClient, Problems
from superedge.kube.errors import APIError
from superedge.kube.json import decode
from superedge.kube.times import kube_time, read_time
from superedge.kube.workqueue import WorkQueue

_log = Logger()

NAME = "superedge-kept-nodes"
LIFE = 120.0
"""Lifetime of an entry in seconds."""
RENEW = 50.0
"""Seconds after which all entries are renewed."""
LOOK = 5.0
"""Seconds between two checks whether renewal is due: after a change of the clock it is due at once."""
RETRY = 5.0
"""Maximum seconds between two attempts to write: Kubernetes acts soon after the API server is back."""
SETTLE = 40.0
"""Seconds after the start in which an earlier judge's entries stay: not all nodes have been judged yet."""
GATHER = 0.1
"""Seconds in which several changes become one write."""


SKEW = 2.0
"""Seconds by which this machine's clock and the API server's may differ without being corrected."""


class _ManagedFields(msgspec.Struct):
    time: str = ""


class _Metadata(msgspec.Struct):
    managedFields: list[_ManagedFields] = []


class _ConfigMap(msgspec.Struct):
    metadata: _Metadata
    data: dict[str, str] = {}


def read_entries(raw: bytes) -> dict[str, str]:
    """The ConfigMap's data. Raises DecodeError."""
    found: _ConfigMap = decode(_ConfigMap, raw)
    return found.data


def read_kept(raw: bytes) -> dict[str, float]:
    """The nodes with the times until which they are kept, in seconds since 1970. Raises DecodeError."""
    found = {name: read_time(text) for name, text in read_entries(raw).items()}
    return {name: until for name, until in found.items() if until is not None}


class KeptNodes:
    """Writes the ConfigMap, and corrects what others change in it (`observed`).

    Entries are compared with times that controllers write. They are made by the API server's clock, which the
    answer to each write shows, because this machine's may be wrong.
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
        self._inherited: set[str] | None = set()
        """Nodes whose entries an earlier judge wrote; None until they are read."""
        self._settled = 0.0
        self._ahead = 0.0
        """Seconds by which the API server's clock is ahead of this machine's."""
        self.queue: WorkQueue[str] = WorkQueue(reactor, self._write, workers=1, maximum=RETRY)
        """Started and stopped by the owner."""

    def keep(self, node: str, kept: bool) -> None:
        """Add or remove a node."""
        if kept is not (node in self._wanted):
            (self._wanted.add if kept else self._wanted.discard)(node)
            if self._inherited is not None:
                self._inherited.discard(node)
            self.queue.add_after(NAME, GATHER)

    def begin(self) -> None:
        """Read the ConfigMap. What an earlier judge wrote is removed when it has expired, or later."""
        self._inherited = None
        self._settled = self._reactor.seconds() + SETTLE
        self.queue.add_after(NAME, GATHER)

    def observed(self, entries: dict[str, str] | None) -> None:
        """The ConfigMap by a watch, None when it was deleted. It may be older than the last write."""
        self._observed = {} if entries is None else entries
        if self._observed != self._stored:
            self.queue.add_after(NAME, GATHER)

    def has(self, node: str) -> bool:
        """Whether a node has an entry that has not expired, whoever judged, or is to have one."""
        until = read_time((self._observed or {}).get(node, ""))
        return node in self._wanted or (until is not None and until > self._now())

    def holds(self, node: str) -> bool:
        """Whether a node's entry is written and has not expired."""
        until = read_time((self._stored or {}).get(node, ""))
        return node in self._wanted and until is not None and until > self._now()

    def _now(self) -> float:
        return self._wall() + self._ahead

    def _compare_clocks(self, found: _ConfigMap, sent: float) -> None:
        """Compare the time of a write that was ``sent`` then and answered now: the answer may be late."""
        times = [read_time(each.time) or 0.0 for each in found.metadata.managedFields]
        if times and not sent - SKEW <= max(times) <= self._now() + SKEW:
            self._ahead = max(times) - self._wall()
            _log.warn(
                "this machine's clock differs from the API server's by {seconds:.0f} s",
                seconds=abs(self._ahead),
            )
            self.queue.add_after(NAME, GATHER)

    async def prove(self, node: str, until: float) -> None:
        """Write an entry to try the enforcement; `proven` removes it."""
        self._extra[node] = until
        await self._write(NAME)

    def proven(self, node: str) -> None:
        """The entry of `prove` is not needed any more."""
        self._extra.pop(node, None)
        self.queue.add(NAME)

    async def _write(self, _: str) -> None:
        try:
            stored = self._stored
            if stored is None or self._observed not in (None, stored):
                stored = await self._read()
            if self._inherited is None:
                self._inherited = stored.keys() - self._wanted
            wanted = self._entries(stored)
            data: dict[str, str | None] = {
                node: text for node, text in wanted.items() if stored.get(node) != text
            }
            data.update((node, None) for node in stored if node not in wanted)
            if data:
                sent = self._now()
                answer = await self._client.call(
                    "PATCH", self._path, body={"data": data}, content_type=MERGE_PATCH
                )
                metrics.WRITES.labels("kept", "done").inc()
                found: _ConfigMap = decode(_ConfigMap, answer)
                stored = found.data
                self._compare_clocks(found, sent)
            self._stored = stored
        except Problems:
            self._stored = None
            metrics.WRITES.labels("kept", "failed").inc()
            raise
        if self._wanted or self._settling():
            self.queue.add_after(NAME, LOOK)

    def _settling(self) -> bool:
        return self._reactor.seconds() < self._settled

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
        """The entries that should exist. All are renewed when the first is due."""
        now = self._now()
        ends = [read_time(stored.get(node, "")) for node in self._wanted]
        renew = any(end is not None and not LIFE - RENEW < end - now <= LIFE + 1 for end in ends)
        found = {}
        for node, end in zip(self._wanted, ends, strict=True):
            found[node] = kube_time(now + LIFE) if end is None or renew else stored[node]
        for node, until in self._extra.items():
            found.setdefault(node, kube_time(until))
        if self._settling():
            for node in self._inherited or ():
                if (read_time(stored.get(node, "")) or 0.0) > now:
                    found.setdefault(node, stored[node])
        return found
