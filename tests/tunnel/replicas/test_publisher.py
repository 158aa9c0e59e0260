"""What happens to a ConfigMap while it is written."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.client import IKubeClient
from superedge.tunnel.replicas.publisher import INTERVAL, Publisher


class _Client:
    """Keeps the requests; the test answers them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[bytes]]] = []

    async def call(self, method: str, *arguments: Any, **more: Any) -> bytes:
        self.asked.append((method, Deferred()))
        return await self.asked[-1][1]

    def answer(self) -> None:
        self.asked[-1][1].callback(b'{"metadata": {"resourceVersion": "1"}}')


class PublisherTests(SynchronousTestCase):
    def test_one_that_is_deleted_while_it_is_written_is_made_again(self) -> None:
        clock, client = Clock(), _Client()
        publisher = Publisher(clock, cast(IKubeClient, client), "cloud", "a")
        publisher.start()
        self.addCleanup(publisher.stop)
        clock.advance(INTERVAL)
        client.answer()
        publisher.put("edge-1", 1, 0.0)
        clock.advance(INTERVAL)
        publisher.missing(0)  # the watch was faster than the answer to the write before it
        client.answer()
        clock.advance(INTERVAL)
        self.assertEqual([method for method, _ in client.asked], ["POST", "PATCH", "POST"])
