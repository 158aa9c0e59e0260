"""The service in the edge process: a snapshot after each change of the network, and from time to time."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from superedge.config.networksnapshot import NetworkSnapshotConfig
from superedge.errors import SuperEdgeError
from superedge.interfaces import IReactor
from superedge.net.bucket import Bucket
from superedge.netsnapshot import metrics
from superedge.netsnapshot.capture import Capture, CaptureError, Request, capture
from superedge.netsnapshot.changes import ChangeFilter
from superedge.netsnapshot.directory import read_snapshots, write_snapshot
from superedge.netsnapshot.document import Snapshot, encode_snapshot
from superedge.netsnapshot.names import node_name, read_boot_id
from superedge.netsnapshot.watcher import NetlinkWatcher
from superedge.reactor.periodic import PeriodicCall
from superedge.reactor.task import in_background

if TYPE_CHECKING:
    from superedge.netsnapshot.reservations import Releaser

CPU_SHARE = 0.002
"""Seconds of CPU time for each second that readings of the network may take."""
CPU_BURST = 4.0
"""Seconds of CPU time that may be used at once after a quiet time: about a dozen readings."""

_log = Logger()


class NetworkSnapshots(MultiService):
    """Writes snapshots; ``releaser``, if any, ends reservations and knows the node's pod networks."""

    def __init__(
        self,
        reactor: IReactor,
        config: NetworkSnapshotConfig,
        releaser: Releaser | None = None,
        take: Callable[[Request], Capture] = capture,
    ) -> None:
        """``take`` reads the network, blocking."""
        super().__init__()
        self._reactor = reactor
        self._config = config
        self._node = node_name(config.node)
        self._releaser = releaser
        self._take = take
        self._changes = ChangeFilter()
        self._watcher = NetlinkWatcher(reactor, self._changes, self._changed)
        self._periodic = PeriodicCall(reactor, config.interval, self._changed, "reading the node's network")
        self._budget = Bucket(CPU_SHARE, CPU_BURST, reactor.seconds())
        self._due: IDelayedCall | None = None
        self._running = False
        self._again = False
        self._newest: Snapshot | None = None
        self._path: Path | None = None
        self._fault = ""
        self._file_faults: list[str] = []
        if releaser is not None:
            releaser.on_networks(self._changed)
            releaser.setServiceParent(self)

    def status(self) -> dict[str, object]:
        """For the status page; ages are in seconds."""
        newest = self._newest
        found: dict[str, object] = {
            "node": self._node,
            "pod_cidrs": list(self._pod_cidrs()),
            "directory": str(self._config.directory),
            "snapshot": None,
            "faults": [text for text in (self._fault, *self._file_faults) if text],
        }
        if newest is not None:
            age = round(max(0.0, time.time() - newest.time), 1)
            found["snapshot"] = {"path": str(self._path), "age": age, **newest.facts.size()}
        if self._releaser is not None:
            found["reservations"] = self._releaser.status()
        return found

    def startService(self) -> None:
        """Watch, and read the network for the first time. Raises SuperEdgeError."""
        super().startService()
        try:
            self._watcher.start()
        except OSError as problem:
            raise SuperEdgeError(f"network_snapshot: no netlink socket: {problem.strerror}") from problem
        self._periodic.start(now=True)

    def stopService(self) -> Any:
        """Watch no more. A reading that is under way is not waited for."""
        self._watcher.stop()
        self._periodic.stop()
        if self._due is not None:
            self._due.cancel()
            self._due = None
        return super().stopService()

    def _pod_cidrs(self) -> tuple[str, ...]:
        """As configured, or as the Node object has them, or as this node's last snapshot had them."""
        if self._config.pod_cidrs:
            return tuple(str(ip_network(text)) for text in self._config.pod_cidrs)
        known = self._releaser.networks if self._releaser is not None else ()
        return known or (self._newest.pod_cidrs if self._newest is not None else ())

    def _changed(self) -> None:
        if self._running:
            self._again = True
        elif self._due is None and self.running:
            delay = max(self._config.delay, self._budget.delay(self._reactor.seconds()))
            self._due = self._reactor.callLater(delay, self._begin)

    def _begin(self) -> None:
        self._due = None
        self._running = True
        in_background(self._run(), _log, "reading the node's network failed").addBoth(self._ended)

    def _ended(self, _: object) -> None:
        self._running = False
        if self._again:
            self._again = False
            self._changed()

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)

    async def _run(self) -> None:
        config = self._config
        request = Request(config.exclude_devices, list(map(str, config.files)), str(config.ipam))
        try:
            if self._newest is None:
                await self._find_newest()
            found = await self._reading(request)
            self._changes.learn(found.devices)
            for fault in found.faults:
                if fault not in self._file_faults:
                    _log.warn("network snapshot: {fault}", fault=fault)
            self._file_faults = found.faults
            await self._write(found)
        except (SuperEdgeError, OSError) as problem:
            metrics.FAILURES.inc()
            text = str(problem)
            if text != self._fault:
                _log.error("no network snapshot: {problem}", problem=text)
            self._fault = text
        else:
            if self._fault:
                _log.info("network snapshots are written again")
            self._fault = ""

    async def _reading(self, request: Request) -> Capture:
        """Raises CaptureError. What a reading that fails took counts as well."""
        seconds = 0.0
        try:
            found: Capture = await self._in_thread(self._take, request)
            seconds = found.seconds
        except CaptureError as problem:
            seconds = problem.seconds
            raise
        finally:
            self._budget.consume(seconds, self._reactor.seconds())
            metrics.READING_SECONDS.inc(seconds)
        metrics.READINGS.inc()
        return found

    async def _find_newest(self) -> None:
        for each in await self._in_thread(read_snapshots, self._config.directory):
            if each.snapshot is None:
                _log.warn("network snapshot: {fault}", fault=each.fault)
            elif each.snapshot.node == self._node:
                self._newest, self._path = each.snapshot, each.path
                return

    async def _write(self, found: Capture) -> None:
        newest = Snapshot(
            node=self._node,
            boot_id=read_boot_id(),
            time=time.time(),
            facts=found.facts,
            pod_cidrs=self._pod_cidrs(),
            files=found.files,
            ipam=found.ipam,
        )
        if self._newest is not None and _content(newest) == _content(self._newest):
            return
        self._path = await self._in_thread(write_snapshot, self._config.directory, encode_snapshot(newest))
        self._newest = newest
        metrics.WRITTEN.inc()
        _log.info("network snapshot {path}: {sizes}", path=str(self._path), sizes=_sizes(newest))


def _content(snapshot: Snapshot) -> tuple[object, ...]:
    return tuple(getattr(snapshot, key) for key in snapshot.__struct_fields__ if key != "time")


def _sizes(snapshot: Snapshot) -> str:
    names = {"links": "devices", "fdb": "forwarding entries"}
    return ", ".join(f"{count} {names.get(key, key)}" for key, count in snapshot.facts.size().items())
