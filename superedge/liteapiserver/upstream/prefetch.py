"""Warm-up: reads what nobody has asked for yet, and keeps it fresh while the cloud is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from superedge.liteapiserver.upstream.history import History
from superedge.liteapiserver.upstream.identity import IdentityManager
from superedge.liteapiserver.upstream.reading import ReadError, Refused, read
from superedge.net.errors import ConnectError
from superedge.reactor.backoff import Backoff
from superedge.web.heads import ResponseHead
from superedge.web.pool import Pool

WATCH_SECONDS = (300, 600)
"""A watch's time limit is drawn from here, so that many do not end at once."""
_SHORT = 1.0
_GONE = 410
_ACCEPT = {"json": JSON, "protobuf": PROTOBUF}

_log = Logger()


class _Target:
    """One path as one identity: a collection is listed and watched, anything else is read now and then."""

    def __init__(self, prefetch: Prefetch, identity: str, path: str, accept: str, refresh: float) -> None:
        self._prefetch = prefetch
        self._identity = identity
        self._owner = certificate_identity(identity)
        """Who has what is read, in the cache."""
        self._path = path
        self._accept = accept
        self._refresh = refresh
        self._request = self._ask(path)
        self._backoff = Backoff(initial=1.0, maximum=60.0, stable=30.0, random=prefetch.random)
        self._next = 0.0
        self._running: Deferred[None] | None = None
        self._relist = False
        self.state = "waiting"
        self.failing = False

    def _ask(self, target: str) -> RequestInfo:
        return parse_request(b"GET", target.encode(), self._accept.encode())

    def status(self) -> dict[str, Any]:
        """For the status page."""
        return {"identity": self._identity, "path": self._path, "state": self.state}

    def look(self, now: float) -> None:
        """Begin when it is time to."""
        if self._running is None and now >= self._next:
            self._running = Deferred.fromCoroutine(self._run(now))
            self._running.addErrback(self._failed).addBoth(self._ended)

    def stop(self) -> None:
        """Give up what is under way; it begins anew at the next look."""
        if self._running is not None:
            self._next = 0.0
            self._running.cancel()

    def _ended(self, _result: None) -> None:
        self._running = None

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            self.state = "waiting"
            return
        self._next = self._prefetch.seconds() + self._backoff.failed(self._prefetch.seconds())
        self.failing = True
        before, self.state = self.state, failure.getErrorMessage()
        if not failure.check(ConnectError, ReadError):
            _log.failure("prefetch of {path} failed", failure, path=self._path)
        elif before != self.state:
            _log.warn("prefetch of {path}: {reason}", path=self._path, reason=self.state)

    async def _run(self, now: float) -> None:
        if self._request.verb != "list":
            await self._read(self._path)
            self._done("fresh", now + self._refresh, now)
            return
        if self._relist or not self._position():
            await self._read(self._path)
            self._relist = False
        version = self._position()
        if not version:
            raise ReadError("the cache does not keep it")
        seconds = self._prefetch.random.randint(*WATCH_SECONDS)
        mark = "&" if "?" in self._path else "?"
        query = f"watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={seconds}"
        target = f"{self._path}{mark}{query}"
        try:
            if await self._reached(target):
                await self._read(target)
            else:
                self._relist = True
        except Refused as problem:
            if problem.status != _GONE:
                raise
            self._relist = True
        ended = self._prefetch.seconds()
        self._done("waiting", ended if ended - now > _SHORT else ended + _SHORT, now)

    def _position(self) -> str:
        return self._prefetch.cache.position(self._owner, self._request)

    def _done(self, state: str, next_: float, began: float) -> None:
        self.state, self.failing, self._next = state, False, next_
        self._backoff.connected(began)

    def _pool(self) -> Pool:
        found = self._prefetch.identities.get(self._identity)
        if found is None:
            raise ReadError(f"no upstream identity has the common name {self._identity!r}")
        return found.pool

    async def _reached(self, target: str) -> bool:
        request = self._ask(target)
        history = self._prefetch.history
        if not history.is_doubtful(request):
            return True
        return not await history.falls_short(Caller(self._pool(), self._owner), request)

    async def _read(self, target: str) -> None:
        pool = self._pool()
        request = self._ask(target)
        asked = self._prefetch.cache.asked(self._owner, request)

        def begin(head: ResponseHead) -> Recorder | None:
            if head.status == 200 and request.verb == "watch":
                self.state, self.failing = "watching", False
            headers = {name.lower(): value for name, value in head.headers}
            return self._prefetch.cache.record(
                self._owner,
                request,
                head.status,
                headers.get(b"content-type", b""),
                headers.get(b"content-encoding", b""),
                headers.get(b"etag", b""),
                b"audit-id" in headers,
                asked,
            )

        status = await read(pool, self._prefetch.host, target, self._accept, begin, gzip=True)
        if status != 200:
            raise Refused(status)


class Prefetch:
    """Everything that the configuration names. Call `look` often."""

    def __init__(
        self,
        reactor: IReactorTime,
        configs: Sequence[PrefetchConfig],
        cache: Cache,
        identities: IdentityManager,
        history: History,
        host: bytes,
        online: Callable[[], bool],
        random: Random | None = None,
    ) -> None:
        """``host`` is the Host header for the cloud; ``online`` says whether it is there."""
        self._online = online
        self.seconds = reactor.seconds
        self.cache = cache
        self.identities = identities
        self.history = history
        self.host = host
        self.random = random or Random()
        self._targets = [
            _Target(self, config.identity, path, _ACCEPT[config.form], config.refresh)
            for config in configs
            for path in config.paths
        ]

    def look(self) -> None:
        """Begin what is due; while the cloud is away nothing is under way."""
        if not self._online():
            self.stop()
            return
        now = self.seconds()
        for target in self._targets:
            target.look(now)
        metrics.PREFETCH_FAILING.set(sum(target.failing for target in self._targets))

    def stop(self) -> None:
        """Give up what is under way."""
        for target in self._targets:
            target.stop()

    def status(self) -> list[dict[str, Any]]:
        """For the status page."""
        return [target.status() for target in self._targets]
