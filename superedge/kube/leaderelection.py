"""One of several processes does the work: the one that renews a Lease.

No clocks are compared: a Lease is free when it has not changed for as long as it says, by one's own clock.
Source: client-go tools/leaderelection.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from superedge.kube.client import LEASES, IKubeClient, Problems
from superedge.kube.errors import APIError
from superedge.kube.json import decode
from superedge.kube.times import micro_time
from superedge.reactor.loops import Loop

DURATION = 15
"""Seconds after which another takes a Lease that is not renewed."""
DEADLINE = 10.0
"""Seconds without a renewal after which the leader steps down, well before another may begin."""
RETRY = 2.0
"""Seconds between two attempts."""
LAST_WORDS = 3.0

_CONFLICTS = (404, 409)
_TROUBLE: tuple[type[Exception], ...] = (*Problems, TimeoutError)
_log = Logger()


def _text(problem: Exception) -> str:
    if isinstance(problem, TimeoutError):
        return "the API server does not answer"
    return str(problem) or repr(problem)


class _Spec(msgspec.Struct):
    holderIdentity: str | None = None
    leaseDurationSeconds: int | None = None
    acquireTime: str | None = None
    renewTime: str | None = None
    leaseTransitions: int | None = None


class _Metadata(msgspec.Struct):
    resourceVersion: str = ""


class _Lease(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)


class LeaderElection(Service):
    """``started`` is called when this process begins to lead, ``stopped`` when it does no more."""

    def __init__(
        self,
        reactor: IReactorTime,
        client: IKubeClient,
        namespace: str,
        name: str,
        identity: str,
        started: Callable[[], object],
        stopped: Callable[[], object],
        wall: Callable[[], float] = time,
    ) -> None:
        """``identity`` is unlike every other process's."""
        self._reactor = reactor
        self._client = client
        self._collection = LEASES.path(namespace)
        self._path = LEASES.path(namespace, name)
        self._name = name
        self._identity = identity
        self._started = started
        self._stopped = stopped
        self._wall = wall
        self._lease: _Lease | None = None
        self._seen = 0.0
        self._renewed = 0.0
        self._problem = ""
        self._decided = False
        self._held = float("-inf")
        """Until when another holds the Lease, as far as is known."""
        self._loop = Loop(reactor, f"the election of {name}", self._run, DEADLINE)
        self.leading = False

    @property
    def holder(self) -> str:
        """Who leads, as far as is known."""
        return (self._lease.spec.holderIdentity or "") if self._lease is not None else ""

    def waits_for(self) -> str:
        """For a readiness page: the Lease, until this process has led or has seen another renew it.

        A holder that may be dead counts until its time is over: another process need not wait for that.
        """
        if self._decided or self._reactor.seconds() < self._held:
            return ""
        return f"Lease {self._name}{self._problem and f': {self._problem}'}"

    def leads(self) -> bool:
        """Whether this process leads, and renewed the Lease so lately that no other can have it."""
        return self.leading and self._reactor.seconds() - self._renewed < DEADLINE

    def startService(self) -> None:
        """Run for it."""
        super().startService()
        self._loop.start()

    async def stopService(self) -> None:
        """Step down, and say so: another need not wait."""
        super().stopService()
        self._loop.stop()
        if self.leading:
            self._step_down()
            done: Deferred[object] = Deferred.fromCoroutine(self._release())
            try:
                await done.addTimeout(LAST_WORDS, self._reactor)
            except _TROUBLE as problem:
                _log.warn(
                    "Lease {name} could not be released: {problem}", name=self._name, problem=_text(problem)
                )

    async def _run(self) -> None:
        while True:
            attempt: Deferred[bool] = Deferred.fromCoroutine(self._try())
            limit = DEADLINE / 2
            if self.leading:
                limit = min(limit, max(0.0, self._renewed + DEADLINE - self._reactor.seconds()))
            attempt.addTimeout(limit, self._reactor)
            held = False
            try:
                held = await attempt
            except CancelledError:
                raise
            except Exception as problem:  # whatever it is, without a renewal this process must step down
                if not self._problem:
                    _log.warn("Lease {name}: {problem}", name=self._name, problem=_text(problem))
                self._problem = _text(problem)
            else:
                self._problem = ""
                if not held and self.leading:
                    self._step_down()
            if held and not self.leading:
                self.leading = True
                _log.info("this process leads by Lease {name}", name=self._name)
                try:
                    self._started()
                except Exception:
                    self._step_down()
                    raise
            elif self.leading and not held and self._reactor.seconds() - self._renewed >= DEADLINE - RETRY:
                self._step_down()
            self._loop.iteration_done(DEADLINE)
            await deferLater(self._reactor, RETRY)

    def _step_down(self) -> None:
        self.leading = False
        _log.info("this process does not lead by Lease {name} any more", name=self._name)
        self._stopped()

    async def _try(self) -> bool:
        """Take or renew the Lease; whether this process holds it now."""
        try:
            found = decode(_Lease, await self._client.call("GET", self._path))
        except APIError as problem:
            if problem.code != 404:
                raise
            return await self._write("POST", self._collection, None)
        changed = self._lease is not None and found.spec != self._lease.spec
        if self._lease is None or changed:
            self._seen = self._reactor.seconds()
        self._lease = found
        spec = found.spec
        if spec.holderIdentity and spec.holderIdentity != self._identity:
            duration = spec.leaseDurationSeconds or DURATION
            if self._reactor.seconds() - self._seen < duration:
                self._decided = self._decided or changed
                self._held = self._seen + duration
                return False
        return await self._write("PUT", self._path, found)

    async def _write(self, method: str, path: str, before: _Lease | None) -> bool:
        body = self._body(before, self._identity, DURATION)
        sent = self._reactor.seconds()
        try:
            self._lease = decode(_Lease, await self._client.call(method, path, body=body))
        except APIError as problem:
            if problem.code in _CONFLICTS:
                return False
            raise
        self._decided = True
        self._seen = self._reactor.seconds()
        self._renewed = sent  # others may have seen it as early as that
        return True

    def _body(self, before: _Lease | None, identity: str, duration: int) -> dict[str, Any]:
        spec = before.spec if before is not None else _Spec()
        own = spec.holderIdentity == self._identity
        now = micro_time(self._wall())
        metadata = {"name": self._name}
        if before is not None:
            metadata["resourceVersion"] = before.metadata.resourceVersion
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": identity,
                "leaseDurationSeconds": duration,
                "acquireTime": (spec.acquireTime or now) if own else now,
                "renewTime": now,
                "leaseTransitions": (spec.leaseTransitions or 0) + (0 if own or before is None else 1),
            },
        }

    async def _release(self) -> None:
        if self._lease is not None:
            await self._client.call("PUT", self._path, body=self._body(self._lease, "", 1))
