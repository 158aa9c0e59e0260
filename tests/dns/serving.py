"""Both servers on loopback, with upstream servers."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred

from superedge.config.dns import TunnelDNSConfig
from superedge.config.localdns import ForwardConfig, LocalDNSConfig
from superedge.dns.local import LocalDNS
from superedge.dns.server import DNSServer
from tests.dns.directory import StaticDirectory
from tests.dns.upstream import LoopbackTestCase, Upstream, reactor

TIMEOUT = 0.3


class TunnelServing(LoopbackTestCase):
    """The tunnel's server."""

    def serve(self, *upstreams: Upstream, timeout: float = TIMEOUT, **options: Any) -> int:
        options = {"listen": ["127.0.0.1:0"], **options}
        addresses = [each.address for each in upstreams]
        config = TunnelDNSConfig(upstreams=addresses, timeout=timeout, **options)
        self.nodes = StaticDirectory(["192.0.2.10"], "edge-1")
        self.server = DNSServer(reactor, config, self.nodes, "cluster.local")
        self.server.startService()
        self.addCleanup(self.server.stopService)
        return int(self.server.addresses[0].port)


class Away:
    """A client of an API server that does not answer."""

    async def call(self, *arguments: Any, **options: Any) -> bytes:
        return await Deferred()

    watch = call


class LocalServing(LoopbackTestCase):
    """The node-local server; its API server is away."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def serve(self, *upstreams: Upstream, timeout: float = TIMEOUT, **options: Any) -> int:
        plugins = options.pop("plugins", {})
        if upstreams:
            forward = ForwardConfig(upstreams=[each.address for each in upstreams], timeout=timeout)
            options["forward"] = [forward]
        options = {"listen": ["127.0.0.1:0"], **options}
        config = LocalDNSConfig(snapshot=self.directory / "dns.snapshot", **options)
        self.server = LocalDNS(reactor, config, cast(Any, Away()), plugins)
        self.server.startService()
        self.addCleanup(self.server.stopService)
        return int(self.server.addresses[0].port)
