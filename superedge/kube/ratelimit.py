"""A client that keeps its writes to a rate, so that a controller leaves the API server to others.

Source: client-go util/flowcontrol, qps and burst.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from superedge.kube.client import IKubeClient
from superedge.kube.objects import WatchEvent
from superedge.net.bucket import Bucket


class RateLimitedClient:
    """An `IKubeClient` with ``qps`` writes a second, and ``burst`` at once after a pause.

    Writes wait for their places in order; reads and watches do not.
    """

    def __init__(self, reactor: IReactorTime, client: IKubeClient, qps: float, burst: int) -> None:
        self._reactor = reactor
        self._client = client
        self._bucket = Bucket(qps, burst, reactor.seconds())

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
            now = self._reactor.seconds()
            self._bucket.consume(1, now)
            if wait := self._bucket.delay(now):
                await deferLater(self._reactor, wait)
        return await self._client.call(method, path, query, body, content_type)

    async def watch(
        self, path: str, query: Mapping[str, str], seconds: int, on_event: Callable[[WatchEvent], None]
    ) -> None:
        """See `IKubeClient`."""
        await self._client.watch(path, query, seconds, on_event)
