"""An embedded cluster, a link to it that can be cut, and a lite-apiserver process on the other side."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from superedge.tls.authority import Authority
from tests.liteapiserver.link import Link
from tests.liteapiserver.proxied import ProxiedServer
from tests.testing.server import EmbeddedServer


class LinkedCase(SynchronousTestCase):
    """``direct`` is an administrator's client of the cluster itself."""

    store = "file"
    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1":
        skip = "set SUPEREDGE_CLUSTER_TESTS=1 to run it through outages and crashes"

    def setUp(self) -> None:
        self.server = EmbeddedServer()
        self.addCleanup(self.server.stop)
        self.link = Link(self.server.url)
        self.addCleanup(self.link.cut)
        authority = Authority.load(self.server.directory / "pki")
        self.proxied = ProxiedServer(self.server, authority, self.link.url, self.store)
        self.addCleanup(self.proxied.stop)
        self.direct = self.server.client("admin", "system:masters")
