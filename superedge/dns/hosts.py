"""The nodes as a ConfigMap in the format of /etc/hosts, for a cluster that keeps its own DNS server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.kube.client import CONFIGMAPS, MERGE_PATCH, IKubeClient, Problems
from superedge.kube.errors import APIError
from superedge.kube.json import decode
from superedge.reactor.loops import LoopMonitor
from superedge.reactor.periodic import PeriodicCall
from superedge.reactor.task import in_background

KEY = "hosts"
INTERVAL = 5.0
"""Seconds between two writes: whoever reads the file sees it a minute later anyway."""
REPAIR = 60.0
"""Seconds after which it is looked at again, changed or not: another replica may have had its turn."""
MAX_BYTES = 1_000_000
"""The API server takes no more in one ConfigMap."""

_log = Logger()

Entries = Callable[[], Sequence[tuple[str, Sequence[str]]]]


class _Meta(msgspec.Struct):
    resourceVersion: str = ""


class _ConfigMap(msgspec.Struct):
    metadata: _Meta
    data: dict[str, str] | None = None


def render(entries: Sequence[tuple[str, Sequence[str]]]) -> str:
    """One line for each address of a node."""
    return "".join(f"{address} {name}\n" for name, addresses in entries for address in addresses)


class HostsConfigMap(Service):
    """Keeps the key ``hosts`` of a ConfigMap up to date while ``elected`` says that it is this one's turn."""

    name = "tunnel-dns-hosts"

    def __init__(
        self,
        reactor: IReactorTime,
        client: IKubeClient,
        namespace: str,
        name: str,
        entries: Entries,
        elected: Callable[[], bool],
    ) -> None:
        self._reactor = reactor
        self._client = client
        self._collection = CONFIGMAPS.path(namespace)
        self._path = CONFIGMAPS.path(namespace, name)
        self._object_name = name
        self._entries = entries
        self._elected = elected
        self._call: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None
        self._next = float("-inf")
        self._failing = False
        self._monitor = LoopMonitor(reactor, f"writing {name}")
        self._repair = PeriodicCall(reactor, REPAIR, self.changed)

    def startService(self) -> None:
        """Write once, then after each change."""
        super().startService()
        self._monitor.start(None)
        self._repair.start(now=True)

    def stopService(self) -> None:
        """Write no more."""
        super().stopService()
        self._monitor.stop()
        self._repair.stop()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._writing is not None:
            self._writing.cancel()

    def changed(self) -> None:
        """The entries may have changed."""
        if self.running and self._call is None:
            delay = max(0.1, self._next - self._reactor.seconds())
            self._call = self._reactor.callLater(delay, self._begin)

    def _begin(self) -> None:
        self._call = None
        self._next = self._reactor.seconds() + INTERVAL
        if self._writing is not None:
            self.changed()
            return
        if self._elected():
            self._writing = in_background(self._write(), _log, "writing hosts failed")
            self._writing.addCallback(self._written)

    def _written(self, _: None) -> None:
        self._writing = None

    async def _write(self) -> None:
        text = render(self._entries())
        if len(text) > MAX_BYTES:
            _log.error("{path}: {size} bytes of hosts are too many", path=self._path, size=len(text))
            return
        try:
            await self._store(text)
        except CancelledError:
            raise
        except Exception as problem:
            if not isinstance(problem, Problems):
                self._monitor.failed(Failure())
            if not self._failing:
                self._failing = True
                _log.warn("cannot write {path}: {problem}", path=self._path, problem=problem)
            self.changed()
        else:
            self._failing = False
            self._monitor.succeeded(None)

    async def _store(self, text: str) -> None:
        try:
            there = decode(_ConfigMap, await self._client.call("GET", self._path))
        except APIError as problem:
            if problem.code != 404:
                raise
            item = {"metadata": {"name": self._object_name}, "data": {KEY: text}}
            await self._client.call("POST", self._collection, body=item)
            return
        if (there.data or {}).get(KEY) != text:
            patch = {"metadata": {"resourceVersion": there.metadata.resourceVersion}, "data": {KEY: text}}
            await self._client.call("PATCH", self._path, body=patch, content_type=MERGE_PATCH)
