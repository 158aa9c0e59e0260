"""Targets that the cloud names, and the node resolves."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, cast
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from superedge.interfaces import IReactor
from superedge.net.errors import ConnectTimeout, ResolveError
from superedge.tunnel import handlers
from superedge.tunnel.allow import AllowList
from superedge.tunnel.errors import DialError
from superedge.tunnel.handlers import TCPHandler
from tests.tunnel.case import TunnelCase, reactor


class NameTests(TunnelCase):
    def resolving(self, *hosts: str) -> None:
        async def resolve(reactor: Any, host: str) -> Sequence[str]:
            return hosts

        patched = patch.object(handlers, "resolve", resolve)
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

    async def test_all_addresses_together_have_the_time_of_the_dial(self) -> None:
        clock = Clock()

        class Silent(TCPHandler):
            async def _dial(self, reactor: Any, target: Any, asked: str, timeout: float) -> Any:
                clock.advance(timeout)
                raise ConnectTimeout(f"{target} did not answer")

        async def resolve(reactor: Any, host: str) -> Sequence[str]:
            clock.advance(1.0)
            return ["192.0.2.1", "192.0.2.2", "192.0.2.3"]

        self.patch(handlers, "resolve", resolve)
        with self.assertRaises(DialError) as caught:
            await Silent(AllowList(["*:*"])).connect(cast(IReactor, clock), {"address": "app:1"}, 10.0)
        self.assertEqual(caught.exception.code, "timeout")
        self.assertAlmostEqual(clock.seconds(), 10.0)

    async def test_a_name_server_that_does_not_answer(self) -> None:
        async def resolve(reactor: Any, host: str) -> Sequence[str]:
            return await Deferred()

        self.patch(handlers, "resolve", resolve)
        clock, handler = Clock(), TCPHandler(AllowList(["*:*"]))
        connecting = Deferred.fromCoroutine(handler.connect(cast(IReactor, clock), {"address": "app:1"}, 5.0))
        clock.advance(5)
        problem = self.failureResultOf(connecting, DialError).value
        self.assertEqual(
            (problem.code, problem.message), ("timeout", "no name server answered for app within 5 s")
        )

    async def test_a_name_without_an_address(self) -> None:
        async def resolve(reactor: Any, host: str) -> Sequence[str]:
            raise ResolveError(f"{host} has no address")

        self.patch(handlers, "resolve", resolve)
        with self.assertRaises(DialError) as caught:
            await TCPHandler(AllowList(["*:*"])).connect(reactor, {"address": "nowhere.invalid:1"}, 5.0)
        self.assertEqual(caught.exception.code, "unresolvable")

    async def test_a_name_that_none_can_be(self) -> None:
        for host in ("a..b", ".a", "..", "x" * 64, "a." * 4500 + "b", "x" * 9000, "ä" * 60, "a\0b"):
            for handler in (TCPHandler(AllowList(["*:*"])), TCPHandler(AllowList(["127.0.0.1:1"]))):
                connecting = Deferred.fromCoroutine(handler.connect(reactor, {"address": f"{host}:1"}, 5.0))
                problem = self.failureResultOf(connecting, DialError).value
                self.assertEqual(problem.code, "unresolvable")
                self.assertLess(len(problem.message), 500)

    async def test_it_is_answered_through_the_tunnel_at_once(self) -> None:
        self.make_edge("edge-2", ["*:*"])
        await self.until(lambda: self.cloud.knows("edge-2"))
        for host in ("a..b", "x" * 9000, "x" * 20_000):
            with self.assertRaises(DialError) as caught:
                await Deferred.fromCoroutine(self.cloud.open("edge-2", f"{host}:1", timeout=5.0)).addTimeout(
                    2.0, reactor
                )
            self.assertEqual(caught.exception.code, "unresolvable")

    async def test_a_target_that_says_nothing(self) -> None:
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(full.close)
        address = full.getsockname()
        for _ in range(4):  # the kernel takes no more than its queue holds
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(address)
        with self.assertRaises(DialError) as caught:
            await TCPHandler(AllowList(["*:*"])).connect(reactor, {"address": f"127.0.0.1:{address[1]}"}, 0.2)
        self.assertEqual(caught.exception.code, "timeout")

    async def test_an_address_that_is_not_allowed_is_not_dialled(self) -> None:
        dialled: list[object] = []

        async def dial(*arguments: object) -> None:
            dialled.append(arguments)

        handler = TCPHandler(AllowList(["127.0.0.1:1"]))
        self.patch(handler, "_dial", dial)
        for address in ("127.0.0.1:2", "127.0.0.2:1", "[::1]:1", "nonsense", "unix:/run/x"):
            with self.assertRaises(DialError) as caught:
                await handler.connect(reactor, {"address": address}, 5.0)
            self.assertEqual(caught.exception.code, "denied")
        self.assertEqual(dialled, [])
        await handler.connect(reactor, {"address": "127.0.0.1:1"}, 5.0)
        self.assertEqual(len(dialled), 1)

    async def test_but_those_alone_that_are_allowed(self) -> None:
        self.resolving("127.0.0.1", "127.0.0.2")
        with self.assertRaises(DialError) as caught:
            await self.connect("127.0.0.2:*")
        self.assertEqual(caught.exception.code, "refused")
        self.assertIn("127.0.0.2", str(caught.exception))
        with self.assertRaises(DialError) as caught:
            await self.connect("127.0.0.3:*")
        self.assertEqual(caught.exception.code, "denied")
