"""A client that keeps its writes to a rate, so that a controller leaves the API server to others.

Source: client-go util/flowcontrol, qps and burst.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from superedge.kube.client import IKubeClient
from superedge.kube.objects import WatchEvent


class RateLimit:
    """``qps`` calls a second, and ``burst`` at once after a pause. Pure."""

    def __init__(self, qps: float, burst: int) -> None:
        self._interval = 1 / qps
        self._tolerance = (burst - 1) / qps
        self._due = float("-inf")

    def reserve(self, now: float) -> float:
        """Take the next place. Returns the seconds until it comes."""
        self._due = max(self._due, now)
        wait = max(0.0, self._due - self._tolerance - now)
        self._due += self._interval
        return wait


class RateLimitedClient:
    """An `IKubeClient` whose writes wait for their places, in order; reads and watches do not."""

    def __init__(self, reactor: IReactorTime, client: IKubeClient, qps: float, burst: int) -> None:
        self._reactor = reactor
        self._client = client
        self._limit = RateLimit(qps, burst)

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> bytes:
        """See `IKubeClient`."""
        if method != "GET":
            wait = self._limit.reserve(self._reactor.seconds())
            if wait:
                await deferLater(self._reactor, wait)
        return await self._client.call(method, path, query, body, content_type)

    async def watch(
        self, path: str, query: Mapping[str, str], seconds: int, on_event: Callable[[WatchEvent], None]
    ) -> None:
        """See `IKubeClient`."""
        await self._client.watch(path, query, seconds, on_event)
