"""Dialling through an HTTP proxy."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress, parse_proxy
from superedge.net.endpoints import ServerEndpoint
from superedge.net.errors import ConnectError, ConnectTimeout
from superedge.net.httpproxy import ConnectResponseReader, HTTPProxy, ProxiedEndpoint
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from tests.net.connectproxy import ConnectProxy
from tests.net.test_endpoints import BIG, Collector, Echo, EndpointCase, reactor

GOOD = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 x\r\n\r\n"


class AnswerTests(SynchronousTestCase):
    def test_byte_by_byte(self) -> None:
        answer = ConnectResponseReader()
        results = [answer.feed(GOOD[at : at + 1]) for at in range(len(GOOD))]
        self.assertEqual(results, [None] * (len(GOOD) - 1) + [b""])
        self.assertEqual(ConnectResponseReader().feed(GOOD + b"SSH-2.0"), b"SSH-2.0")

    def test_refusals(self) -> None:
        for data, cause in (
            (
                b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\nbody",
                "it answered 407 Proxy Authentication",
            ),
            (b"HTTP/1.0 403 \x1b[2J\r\n\r\n", r"it answered 403 ?[2J"),
            (b"SSH-2.0-x\r\n\r\n", "it does not speak HTTP"),
            (b"HTTP/1.1 x\r\n\r\n", "it does not speak HTTP"),
            (
                b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000,
                "its response has more than 16384 bytes of headers",
            ),
        ):
            problem = self.assertRaises(ConnectError, ConnectResponseReader().feed, data)
            self.assertIn(cause, str(problem))

    @given(st.binary())
    def test_any_bytes_are_read_or_refused(self, data: bytes) -> None:
        with contextlib.suppress(ConnectError):
            ConnectResponseReader().feed(data)


class AddressTests(SynchronousTestCase):
    def test_with_and_without_credentials(self) -> None:
        for text, host, port, credentials in (
            ("http://proxy.example:3128", "proxy.example", 3128, ""),
            ("HTTP://proxy.example:3128/", "proxy.example", 3128, ""),
            ("http://[2001:db8::1]:80", "2001:db8::1", 80, ""),
            ("http://me:p%40ss%3A1@10.0.0.1:80", "10.0.0.1", 80, "me:p@ss:1"),
            ("http://me:a@b@10.0.0.1:80", "10.0.0.1", 80, "me:a@b"),
        ):
            self.assertEqual(parse_proxy(text), (TCPAddress(host, port), credentials))

    def test_a_refusal_does_not_tell_the_password(self) -> None:
        for text in (
            "https://me:secret@proxy:1",
            "me:secret@proxy:1",
            "http://me:secret@proxy",
            "http://secret@proxy:1",
        ):
            problem = self.assertRaises(ValueError, parse_proxy, text)
            self.assertNotIn("secret", str(problem))


class ProxiedTests(EndpointCase):
    async def proxy(self, credentials: str = "") -> ConnectProxy:
        proxy = ConnectProxy(reactor, credentials)
        self.ports.append(await proxy.start())
        return proxy

    async def echo(self, tls: ServerContextSource | None = None) -> TCPAddress:
        endpoint = ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0), tls)
        port = await endpoint.listen(cast(Any, Factory.forProtocol(Echo)))
        self.ports.append(port)
        return TCPAddress("localhost", cast(Any, port.getHost()).port)

    async def through(self, endpoint: ProxiedEndpoint) -> Any:
        return await endpoint.connect(cast(Any, Factory.forProtocol(Collector)))

    async def refusal(self, endpoint: ProxiedEndpoint) -> str:
        problem = await self.assertFailure(Deferred.fromCoroutine(self.through(endpoint)), ConnectError)
        return str(problem)

    async def test_tls_through_it(self) -> None:
        ca = Authority.create(self.directory)
        pair = ca.issue("cloud", dns=["localhost"], directory=self.directory)
        target = await self.echo(ServerContextSource(pair.certificate, pair.key))
        proxy = await self.proxy("me:secret")
        way = HTTPProxy(proxy.address, "me:secret")
        caller = await self.through(ProxiedEndpoint(reactor, target, way, ClientContextSource([ca.path])))
        caller.transport.write(BIG)
        while sum(map(len, caller.chunks)) < len(BIG):
            await self.turn()
        caller.transport.loseWriteConnection()  # not before: at our end the echo drops what it still holds
        self.assertEqual(await caller.ended, BIG)
        caller.transport.loseConnection()
        await caller.lost
        self.assertEqual(
            proxy.requests, [f"CONNECT localhost:{target.port} HTTP/1.1"], "it resolves the name"
        )

    async def test_credentials_of_a_file_are_read_at_each_through(self) -> None:
        proxy, target = await self.proxy("me:new"), await self.echo()
        file = Path(self.directory) / "proxy"
        file.write_text("me:old\n")
        endpoint = ProxiedEndpoint(reactor, target, HTTPProxy(proxy.address, file=file))
        text = await self.refusal(endpoint)
        self.assertIn(
            f"localhost:{target.port} through proxy {proxy.address}: it answered 407 Proxy Auth", text
        )
        self.assertNotIn("old", text)
        file.write_text("me:new\n# the rest is not read\n")
        caller = await self.through(endpoint)
        caller.transport.abortConnection()
        await caller.lost
        for content in ("", "nocolon\n"):
            file.write_text(content)
            self.assertIn("is not user:password", await self.refusal(endpoint))
        file.unlink()
        self.assertIn("cannot be read: No such file", await self.refusal(endpoint))

    async def test_a_proxy_that_is_not_there_closes_or_says_nothing(self) -> None:
        target = await self.echo()
        proxy = await self.proxy()
        self.ports.pop().stopListening()
        way = HTTPProxy(proxy.address)
        self.assertIn("Connection refused", await self.refusal(ProxiedEndpoint(reactor, target, way)))

        class Speaks(Protocol):
            def connectionMade(self) -> None:
                cast(Any, self.transport).write(GOOD + b"x")

        class Closes(Protocol):
            def connectionMade(self) -> None:
                cast(Any, self.transport).loseConnection()

        for protocol, timeout, cause in (
            (Closes, 10.0, "it closed the connection"),
            (Speaks, 10.0, "it sent data before the TLS handshake"),
            (Protocol, 0.1, "did not answer within"),
        ):
            port = await ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0)).listen(
                cast(Any, Factory.forProtocol(protocol))
            )
            self.ports.append(port)
            way = HTTPProxy(TCPAddress("127.0.0.1", cast(Any, port.getHost()).port))
            endpoint = ProxiedEndpoint(reactor, target, way, timeout=timeout)
            self.assertIn(cause, await self.refusal(endpoint))
        self.assertTrue(issubclass(ConnectTimeout, ConnectError))

    async def test_a_target_that_the_proxy_cannot_reach(self) -> None:
        proxy = await self.proxy()
        text = await self.refusal(
            ProxiedEndpoint(reactor, TCPAddress("127.0.0.1", 1), HTTPProxy(proxy.address))
        )
        self.assertIn("127.0.0.1:1 through proxy", text)
        self.assertIn("502 Bad Gateway", text)
