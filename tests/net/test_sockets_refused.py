"""No socket to be had is a connection that was not established, like any other."""

from __future__ import annotations

import resource
import socket
from typing import Any

from twisted.trial.unittest import TestCase

from superedge.config.addresses import TCPAddress
from superedge.net.connecting import connect, connect_with_timeout
from superedge.net.errors import ConnectionRefused
from tests.net.test_endpoints import reactor


class RefusedTests(TestCase):
    async def test_by_the_kernel(self) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(24, "Too many open files")

        self.patch(socket, "socket", refuse)
        for address in (TCPAddress("::1", 1), TCPAddress("127.0.0.1", 1)):
            problem: Any = await self.assertFailure(connect(reactor, address), ConnectionRefused)
            self.assertIn(f"{address}: Too many open files", str(problem))
            with self.assertRaises(ConnectionRefused):
                await connect_with_timeout(reactor, address, 1.0)

    async def test_the_last_descriptors_are_not_for_targets(self) -> None:
        self.patch(resource, "getrlimit", lambda _: (1, 1))
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        address = TCPAddress("127.0.0.1", listening.getsockname()[1])
        with self.assertRaises(ConnectionRefused) as refused:
            await connect_with_timeout(reactor, address, 1.0)
        self.assertIn("Too many open files", str(refused.exception))
