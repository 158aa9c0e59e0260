"""Targets that the cloud names, and the node resolves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from superedge.tunnel import serve
from superedge.tunnel.allow import AllowList
from superedge.tunnel.errors import DialError
from superedge.tunnel.serve import TCPHandler
from tests.tunnel.case import TunnelCase, reactor


class NameTests(TunnelCase):
    def resolving(self, *hosts: str) -> None:
        async def resolve(reactor: Any, host: str) -> Sequence[str]:
            return hosts

        patched = patch.object(serve, "resolve", resolve)
        patched.start()
        self.addCleanup(patched.stop)

    async def connect(self, *rules: str) -> Any:
        port = self.target.rpartition(":")[2]
        transport = await TCPHandler(AllowList(rules)).connect(reactor, {"address": f"app:{port}"}, 5.0)
        self.addCleanup(transport.abortConnection)
        return transport

    async def test_every_address_of_a_name_is_tried(self) -> None:
        self.resolving("127.0.0.2", "::1", "127.0.0.1")
        transport = await self.connect("app:*")
        self.assertEqual(transport.getPeer().host, "127.0.0.1")

    async def test_but_those_alone_that_are_allowed(self) -> None:
        self.resolving("127.0.0.1", "127.0.0.2")
        with self.assertRaises(DialError) as caught:
            await self.connect("127.0.0.2:*")
        self.assertEqual(caught.exception.code, "refused")
        self.assertIn("127.0.0.2", str(caught.exception))
        with self.assertRaises(DialError) as caught:
            await self.connect("127.0.0.3:*")
        self.assertEqual(caught.exception.code, "denied")
