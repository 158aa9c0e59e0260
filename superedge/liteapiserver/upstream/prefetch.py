"""Reads configured paths into the cache before a client asks for them, and keeps them fresh."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.config.liteapiserver import PrefetchConfig
from superedge.kube.media import JSON, PROTOBUF
from superedge.kube.request import RequestInfo, parse_request
from superedge.liteapiserver import metrics
from superedge.liteapiserver.access.caller import Caller, certificate_identity
from superedge.liteapiserver.cache.cache import Cache
from superedge.liteapiserver.cache.recorders import Recorder
from superedge.liteapiserver.upstream.fetch import FetchError, UnexpectedStatus, fetch
from superedge.liteapiserver.upstream.health import Health
from superedge.liteapiserver.upstream.history import History
from superedge.liteapiserver.upstream.identity import IdentityManager
from superedge.net.errors import ConnectError
from superedge.reactor.backoff import Backoff
from superedge.web.heads import ResponseHead
from superedge.web.pool import Pool

WATCH_SECONDS = (300, 600)
"""Bounds of a watch's random timeoutSeconds, which keeps many watches from ending at once."""
_MIN_WATCH_INTERVAL = 1.0
"""Seconds from the end of a watch that ended within that time to the next one."""
_GONE = 410
_ACCEPT = {"json": JSON, "protobuf": PROTOBUF}

_log = Logger()


class Target:
    """One path read as one identity: a collection is listed and watched, others are read periodically."""

    def __init__(self, prefetch: Prefetch, identity: str, path: str, accept: str, refresh: float) -> None:
        self.prefetch = prefetch
        self.identity = identity
        self.owner = certificate_identity(identity)
        """The identity in the cache that the answers belong to."""
        self._path = path
        self._accept = accept
        self._refresh = refresh
        self.request = self._ask(path)
        self._backoff = Backoff(initial=1.0, maximum=60.0, stable=30.0, random=prefetch.random)
        self._next = 0.0
        self._running: Deferred[None] | None = None
        self.relist = False
        self.state = "waiting"
        self.failing = False
        self.refused = False
        """Whether the API server answered the last read with an error."""

    def _ask(self, target: str) -> RequestInfo:
        request = parse_request(b"GET", target.encode(), self._accept.encode())
        if request.verb == "watch":  # its events are single objects
            accept = self._accept.replace("PartialObjectMetadataList", "PartialObjectMetadata")
            return request._replace(accept=accept)
        return request

    def status(self) -> dict[str, Any]:
        """For the status page."""
        return {"identity": self.identity, "path": self._path, "state": self.state}

    def poll(self, now: float) -> None:
        """Start a read when it is due; ``now`` is in reactor seconds."""
        if self._running is None and now >= self._next:
            self._running = Deferred.fromCoroutine(self._run(now))
            self._running.addErrback(self._failed).addBoth(self._ended)

    def stop(self) -> None:
        """Cancel the read under way; the next poll starts it again."""
        if self._running is not None:
            self._next = 0.0
            self._running.cancel()

    def hurry(self) -> None:
        """Read at the next poll: what failed before may work now."""
        self._next = 0.0

    def _ended(self, _result: None) -> None:
        self._running = None

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            self.state = "waiting"
            return
        self._next = self.prefetch.seconds() + self._backoff.failed(self.prefetch.seconds())
        self.failing = True
        self.refused = failure.check(UnexpectedStatus) is not None
        before, self.state = self.state, failure.getErrorMessage()
        if not failure.check(ConnectError, FetchError):
            _log.failure("prefetch of {path} failed", failure, path=self._path)
        elif before != self.state:
            _log.warn("prefetch of {path}: {reason}", path=self._path, reason=self.state)

    async def _run(self, now: float) -> None:
        if self.request.verb != "list":
            await self._read(self._path)
            self._done("fresh", now + self._refresh, now)
            return
        lists = self.relist or not self._resume_version()
        if lists:
            await self._read(self._path)
            self.relist = False
        version = self._resume_version()
        if not version:
            raise FetchError("the cache rules do not keep this resource")
        if lists:
            self.listed()
        seconds = self.prefetch.random.randint(*WATCH_SECONDS)
        mark = "&" if "?" in self._path else "?"
        query = f"watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={seconds}"
        target = f"{self._path}{mark}{query}"
        try:
            if await self._is_in_history(target):
                await self._read(target)
            else:
                self.relist = True
        except UnexpectedStatus as problem:
            if problem.status != _GONE:
                raise
            self.relist = True
        ended = self.prefetch.seconds()
        self._done(
            "waiting", ended if ended - now > _MIN_WATCH_INTERVAL else ended + _MIN_WATCH_INTERVAL, now
        )

    def listed(self) -> None:
        """The collection was listed, and is about to be watched."""

    def _resume_version(self) -> str:
        return self.prefetch.cache.resume_version(self.owner, self.request)

    def _done(self, state: str, next_: float, began: float) -> None:
        self.state, self.failing, self._next = state, False, next_
        self._backoff.connected(began)

    def _pool(self) -> Pool:
        found = self.prefetch.identities.get(self.identity)
        if found is None:
            raise FetchError(f"no upstream identity has the common name {self.identity!r}")
        return found.pool

    async def _is_in_history(self, target: str) -> bool:
        request = self._ask(target)
        history = self.prefetch.history
        if not history.must_check(request):
            return True
        return not await history.history_end(Caller(self._pool(), self.owner), request)

    async def _read(self, target: str) -> None:
        pool = self._pool()
        request = self._ask(target)
        asked = self.prefetch.cache.baseline(self.owner, request)

        def begin(head: ResponseHead) -> Recorder | None:
            if head.status == 403 and not self.prefetch.health.is_settled:
                return None
            if head.status == 200 and request.verb == "watch":
                self.state, self.failing = "watching", False
            headers = {name.lower(): value for name, value in head.headers}
            return self.prefetch.cache.record(
                self.owner,
                request,
                head.status,
                headers.get(b"content-type", b""),
                headers.get(b"content-encoding", b""),
                headers.get(b"etag", b""),
                b"audit-id" in headers,
                asked,
            )

        status = await fetch(pool, self.prefetch.host, target, request.accept, begin, gzip=True)
        if status != 200:
            raise UnexpectedStatus(status)


class Prefetch:
    """Every configured path. `poll` is to be called often."""

    def __init__(
        self,
        reactor: IReactorTime,
        configs: Sequence[PrefetchConfig],
        cache: Cache,
        identities: IdentityManager,
        history: History,
        host: bytes,
        health: Health,
        random: Random | None = None,
    ) -> None:
        """``host`` is the Host header for the cloud."""
        self.health = health
        self._away = False
        """Whether the cloud was away at the last poll."""
        self.seconds = reactor.seconds
        self.cache = cache
        self.identities = identities
        self.history = history
        self.host = host
        self.random = random or Random()
        self._targets = [
            Target(self, config.identity, path, _ACCEPT[config.form], config.refresh)
            for config in configs
            for path in config.paths
        ]

    def add(self, target: Target) -> None:
        """Read one more path."""
        self._targets.append(target)

    def poll(self) -> None:
        """Start the reads that are due; cancel all while the cloud is away."""
        if not self.health.online:
            self._away = True
            self.stop()
            return
        now = self.seconds()
        if self._away:
            self._away = False
            for target in self._targets:
                target.hurry()
        for target in self._targets:
            target.poll(now)
        metrics.PREFETCH_FAILING.set(sum(target.failing for target in self._targets))

    def stop(self) -> None:
        """Cancel the reads under way."""
        for target in self._targets:
            target.stop()

    def status(self) -> list[dict[str, Any]]:
        """For the status page."""
        return [target.status() for target in self._targets]
