from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.contracts import apiserver
from tests.testing.server import shared


class EmbeddedContractTests(apiserver.APIServerContract, SynchronousTestCase):
    """The contract on the embedded API server as a process of its own."""

    def setUp(self) -> None:
        self.server = shared()
        super().setUp()
