"""Which way an edge takes to the cloud."""

from __future__ import annotations

import socket
from typing import Any

from twisted.logger import formatEvent

from superedge.config.load import convert
from superedge.config.tunnel import TunnelEdgeConfig
from superedge.errors import ConfigError
from superedge.net.errors import ConnectError
from tests.events import logged
from tests.net.connectproxy import ConnectProxy
from tests.tunnel.case import TunnelCase, reactor


class WayTests(TunnelCase):
    async def connected(self, name: str, **options: Any) -> None:
        self.make_edge(name, [self.target], **options)
        await self.until(lambda: self.cloud.knows(name))

    async def test_a_dead_first_server_costs_no_delay(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and nobody listens
            dead = f"127.0.0.1:{taken.getsockname()[1]}"
            servers = [dead, f"127.0.0.1:{self.cloud.address.port}"]
            await self.connected("edge-2", servers=servers, reconnect_initial=60.0)

    async def test_a_dead_server_is_tried_after_the_others_for_a_while(self) -> None:
        events = logged(self)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            dead = f"127.0.0.1:{taken.getsockname()[1]}"
            await self.connected("edge-2", servers=[dead, f"127.0.0.1:{self.cloud.address.port}"])
            for _ in range(3):
                session = self.cloud.nodes.get("edge-2")
                assert session is not None
                session.close("test")
                await self.until(lambda before=session: self.cloud.nodes.get("edge-2") not in (before, None))
        self.assertEqual(
            len([event for event in events if f"tunnel to {dead} failed" in formatEvent(event)]), 1
        )

    async def test_through_a_proxy(self) -> None:
        proxy = ConnectProxy(reactor, "me:secret")
        self.addCleanup((await proxy.start()).stopListening)
        await self.connected("edge-2", proxy=f"http://me:secret@{proxy.address}")
        self.assertEqual(proxy.requests, [f"CONNECT 127.0.0.1:{self.cloud.address.port} HTTP/1.1"])
        file = self.directory / "proxy"
        file.write_text("me:secret")
        await self.connected("edge-3", proxy=f"http://{proxy.address}", proxy_credentials=file)
        stream = await self.cloud.open("edge-3", self.target, timeout=60)
        stream.abortConnection()

    async def test_configurations_that_cannot_work(self) -> None:
        with self.assertRaisesRegex(ConnectError, "cannot be read"):
            self.make_edge(
                "edge-2", [], proxy="http://127.0.0.1:1", proxy_credentials=self.directory / "missing"
            )
        tree = {"servers": ["a:1"], "certificate": "x", "key": "x", "ca": ["x"]}
        for more in (
            {"proxy": "https://me:secret@a:1"},
            {"proxy": "http://me:secret@a:1", "proxy_credentials": "x"},
        ):
            with self.assertRaises(ConfigError) as caught:
                convert(TunnelEdgeConfig, {**tree, **more}, "edge.toml", self.directory)
            self.assertNotIn("secret", str(caught.exception))
