"""Keeps the cluster's zone up to date, and a snapshot of it on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import time
from typing import Any, TypeVar

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.dns import metrics
from superedge.dns.cluster.objects import ENDPOINT_SLICES, SERVICES, read_service, read_slice
from superedge.dns.cluster.zone import ClusterZone
from superedge.dns.snapshot import SnapshotError, encode_snapshot, read_snapshot, write_snapshot
from superedge.interfaces import IReactor
from superedge.kube.client import IKubeClient
from superedge.kube.reflector import Key, Reflector

SAVE_AFTER = 2.0
"""Seconds from a change to the snapshot that has it."""

T = TypeVar("T")
_log = Logger()


class ClusterFollower(MultiService):
    """Puts what the API server has into ``zone``, and calls ``changed`` after each change of it."""

    def __init__(
        self,
        reactor: IReactor,
        client: IKubeClient,
        zone: ClusterZone,
        snapshot: Path,
        changed: Callable[[], None],
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._zone = zone
        self._path = snapshot
        self._changed = changed
        self._restored = False
        self._saved: float | None = None
        self._save: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None
        self._failing = False
        put_service = partial(self._put, zone.services, zone.put_service)
        put_slice = partial(self._put, zone.slices, zone.put_slice)
        self._services = Reflector(reactor, client, SERVICES.path(), read_service, put_service)
        self._slices = Reflector(reactor, client, ENDPOINT_SLICES.path(), read_slice, put_slice)
        for reflector, there, put in (
            (self._services, zone.services, zone.put_service),
            (self._slices, zone.slices, zone.put_slice),
        ):
            reflector.when_synced().addCallback(partial(self._synced, reflector, there, put))
            reflector.setServiceParent(self)

    @property
    def synced(self) -> bool:
        """Whether the API server has been read whole since the start."""
        return self._services.synced and self._slices.synced

    @property
    def loaded(self) -> bool:
        """Whether it is known what the cluster has, or had."""
        return self._restored or self.synced

    def problems(self) -> list[str]:
        """What cannot be read or watched now, each with the reason."""
        return [each.problem for each in (self._services, self._slices) if each.problem]

    def status(self) -> dict[str, object]:
        """For the status page; ages are in seconds."""
        age = None if self._saved is None else round(time() - self._saved, 1)
        return {
            "services": len(self._zone.services),
            "endpoint_slices": len(self._zone.slices),
            "synced": self.synced,
            "problems": self.problems(),
            "snapshot": {"path": str(self._path), "age": age},
        }

    def restore(self) -> None:
        """Fill the zone from the snapshot, if there is one."""
        try:
            found = read_snapshot(self._path)
        except SnapshotError as problem:
            _log.error(
                "{problem}; the cluster's names are unknown until the API server answers", problem=problem
            )
            return
        if found is None:
            return
        for service_key, service in found.services:
            self._zone.put_service(service_key, service)
        for slice_key, each in found.slices:
            self._zone.put_slice(slice_key, each)
        self._restored = True
        self._saved = self._path.stat().st_mtime
        metrics.SERVICES.set(len(self._zone.services))
        _log.info("{count} services from {path}", count=len(found.services), path=self._path)

    def stopService(self) -> Any:
        """Follow no more, and save what is not yet saved, after what is being saved."""
        ended = super().stopService()
        if self._save is not None:
            self._save.cancel()
            self._save = None
            if self._writing is not None:
                return gatherResults([ended, self._writing.addCallback(lambda _: self._save_last())])
            self._save_last()
        return ended

    def _save_last(self) -> None:
        try:
            write_snapshot(self._path, encode_snapshot(self._zone.services, self._zone.slices))
        except OSError as problem:
            self._not_saved(Failure(problem))

    def _put(
        self, there: Mapping[Key, T], put: Callable[[Key, T | None], None], key: Key, item: T | None
    ) -> None:
        if there.get(key) == item:
            return
        put(key, item)
        self._dirty()

    def _synced(
        self, reflector: Reflector[T], there: Mapping[Key, T], put: Callable[[Key, T | None], None], _: object
    ) -> None:
        """What the snapshot had and the cluster has no more goes."""
        for key in [key for key in there if key not in reflector.objects]:
            put(key, None)
        self._dirty()

    def _dirty(self) -> None:
        metrics.SERVICES.set(len(self._zone.services))
        self._changed()
        if self._save is None and self.loaded:
            self._save = self._reactor.callLater(SAVE_AFTER, self._begin)

    def _begin(self) -> None:
        self._save = None
        if self._writing is not None:  # a slow disk: once more when it is done
            self._save = self._reactor.callLater(SAVE_AFTER, self._begin)
            return
        data = encode_snapshot(self._zone.services, self._zone.slices)
        pool = self._reactor.getThreadPool()
        self._writing = deferToThreadPool(self._reactor, pool, write_snapshot, self._path, data)
        self._writing.addCallbacks(self._is_saved, self._not_saved)

    def _is_saved(self, _: None) -> None:
        self._writing = None
        self._saved = time()
        self._failing = False

    def _not_saved(self, failure: Failure) -> None:
        self._writing = None
        if not self._failing:
            self._failing = True
            _log.error(
                "{path} cannot be written: {problem}", path=self._path, problem=failure.getErrorMessage()
            )
        if self.running:
            self._dirty()
