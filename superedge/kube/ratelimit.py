"""A client that keeps its writes to a rate, so that a controller leaves the API server to others.

Source: client-go util/flowcontrol, qps and burst.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from superedge.kube.beforewrites import BeforeWrites
from superedge.kube.client import IKubeClient
from superedge.net.bucket import Bucket


class RateLimitedClient(BeforeWrites):
    """An `IKubeClient` with ``qps`` writes a second, and ``burst`` at once after a pause.

    Writes wait for their places in order; reads and watches do not.
    """

    def __init__(self, reactor: IReactorTime, client: IKubeClient, qps: float, burst: int) -> None:
        super().__init__(client)
        self._reactor = reactor
        self._bucket = Bucket(qps, burst, reactor.seconds())

    async def before_write(self) -> None:
        """See `BeforeWrites`."""
        now = self._reactor.seconds()
        self._bucket.consume(1, now)
        if wait := self._bucket.delay(now):
            await deferLater(self._reactor, wait)
