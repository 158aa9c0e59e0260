from __future__ import annotations

from twisted.trial.unittest import TestCase

from superedge.testing.inprocess import InProcessAPI
from tests.kube.contract import ClientContract


class InProcessClientTests(ClientContract, TestCase):
    """What is true of the client without a network is true of the real one: the same contract."""

    async def begin(self) -> None:
        self.api = InProcessAPI(self.reactor, 0.001)
        self.client = self.api.client()

    async def compact(self) -> None:
        self.api.store.compact()
