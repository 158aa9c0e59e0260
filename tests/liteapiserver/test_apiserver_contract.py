"""What holds for an API server holds for the one behind lite-apiserver."""

from __future__ import annotations

from functools import cache

from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.contracts import apiserver
from superedge.tls.authority import Authority
from tests.liteapiserver.proxied import ProxiedServer
from tests.testing.server import shared as embedded


@cache
def shared() -> ProxiedServer:
    """The one server that tests share; each works in a namespace of its own."""
    server = embedded()
    return ProxiedServer(server, Authority.load(server.directory / "pki"))


class ProxiedContractTests(apiserver.APIServerContract, SynchronousTestCase):
    """The contract through a lite-apiserver process."""

    def setUp(self) -> None:
        self.server = shared()
        super().setUp()
