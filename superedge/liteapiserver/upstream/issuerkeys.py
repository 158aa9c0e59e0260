"""Fetches the token issuer's public keys, with whichever identity of the node may read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.kube.errors import DecodeError
from superedge.liteapiserver.access.issuer import CONFIGURATION, KEYS, Issuer
from superedge.liteapiserver.upstream.fetch import FetchError, UnexpectedStatus, fetch_body
from superedge.net.errors import ConnectError
from superedge.reactor.task import in_background
from superedge.web.pool import Pool

INTERVAL = 3600.0
"""Seconds between two fetches."""
RETRY = 60.0
"""Seconds after a fetch that failed."""
REFUSED = 600.0
"""Seconds after a fetch that the API server refused to every identity."""
_TIMEOUT = 10.0
_ACCEPT = "application/json, application/jwk-set+json"

_log = Logger()


class IssuerKeys:
    """Keeps an `Issuer` up to date. `poll` is to be called often."""

    def __init__(
        self,
        reactor: IReactorTime,
        issuer: Issuer,
        host: bytes,
        pools: Callable[[], Sequence[Pool]],
    ) -> None:
        """``host`` is the Host header for the cloud; ``pools`` gives one for each identity."""
        self._reactor = reactor
        self._issuer = issuer
        self._host = host
        self._pools = pools
        self._next = 0.0
        self._fetching: Deferred[None] | None = None
        self._warned = False

    def poll(self) -> None:
        """Fetch the keys if that is due; to be called while the cloud is reachable."""
        if self._fetching is not None or self._reactor.seconds() < self._next:
            return
        self._next = self._reactor.seconds() + RETRY
        self._fetching = in_background(self._fetch(), _log, "the issuer's keys could not be fetched")
        self._fetching.addCallback(self._ended)

    def stop(self) -> None:
        """Cancel a fetch under way."""
        if self._fetching is not None:
            self._fetching.cancel()

    def _ended(self, _result: None) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        problems: list[str] = []
        refused = answered = True
        for pool in self._pools():
            try:
                configuration = await self._get(pool, CONFIGURATION)
                self._issuer.update(configuration, await self._get(pool, KEYS))
            except UnexpectedStatus as problem:
                problems.append(str(problem))
                continue
            except DecodeError as problem:
                problems.append(str(problem))
                refused = False
                continue
            except (ConnectError, FetchError, TimeoutError):
                refused = answered = False
                continue
            self._next = self._reactor.seconds() + INTERVAL
            self._warned = False
            return
        if refused:
            self._next = self._reactor.seconds() + REFUSED
        if answered and not self._warned:  # else the cloud is away, which says nothing about the keys
            self._warned = True
            _log.warn(
                "no identity of this node may read the keys of the cluster's token issuer: offline only "
                "tokens that the cloud accepted before are accepted: {problems}",
                problems="; ".join(dict.fromkeys(problems)),
            )

    async def _get(self, pool: Pool, path: str) -> bytes:
        reading = Deferred.fromCoroutine(fetch_body(pool, self._host, path, _ACCEPT))
        return await reading.addTimeout(_TIMEOUT, self._reactor)
