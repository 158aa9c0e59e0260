"""Callers of the listeners that ask for nothing, for nonsense, or from where they may not."""

from __future__ import annotations

import os
import ssl
from ipaddress import ip_network
from typing import Any, cast

from prometheus_client import REGISTRY
from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from superedge.config.addresses import TCPAddress, UnixAddress
from superedge.config.listeners import ConnectListenerConfig, TCPListenerConfig, TLSListenerConfig
from superedge.interfaces import IReactor
from superedge.kube.nodes import Node, NodeIndex, Ranges
from superedge.net.endpoints import ClientEndpoint
from superedge.tls.reload import FileWatcher
from superedge.tunnel.directory import NodeDirectory
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.base import Listener, RequestCaller
from superedge.tunnel.listeners.connect import ConnectListener
from superedge.tunnel.listeners.tcp import TCPListener
from superedge.tunnel.listeners.tls import TLSListener
from superedge.tunnel.nodetable import NodeTable
from tests.tunnel.case import Talker
from tests.tunnel.listeners.test_sni import client_hello

reactor = cast(IReactor, _reactor)


class FakeTunnel:
    """Knows edge-1 and edge-2; every dial ends as ``problem`` says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, float]] = []
        self.problem: Exception = DialError("refused", "nobody listens")

    def knows(self, node: str) -> bool:
        return node in ("edge-1", "edge-2")

    async def open(
        self,
        node: str,
        address: str,
        *,
        timeout: float,
        kind: str = "tcp",
        on_stream: Any = None,
        caller: str = "",
    ) -> Any:
        self.asked.append((node, address, timeout))
        raise self.problem


class CallerTests(TestCase):
    def setUp(self) -> None:
        self.tunnel = FakeTunnel()
        self.path = f"/tmp/superedge-callers-{os.getpid()}.sock"

    def start(self, listener: Listener) -> Listener:
        listener.startService()
        self.addCleanup(deferLater, reactor, 0.01)
        self.addCleanup(listener.stopService)
        return listener

    async def call(self, listener: Listener, says: bytes) -> bytes:
        """Say something; everything that was answered when the connection is over."""
        host = listener.address
        port = getattr(host, "port", None)
        address = UnixAddress(self.path) if port is None else TCPAddress("127.0.0.1", port)
        caller = Talker(says)
        factory = Factory.forProtocol(cast(Any, lambda: caller))
        await ClientEndpoint(reactor, address).connect(cast(Any, factory))
        return await caller.over

    def refusals(self, kind: str, reason: str) -> float:
        labels = {"kind": kind, "reason": reason}
        return REGISTRY.get_sample_value("superedge_tunnel_callers_refused_total", labels) or 0.0

    def connect(self, **options: Any) -> Listener:
        config = ConnectListenerConfig(listen=f"unix:{self.path}", **options)
        return self.start(ConnectListener(reactor, self.tunnel, config, FileWatcher(reactor)))

    def tls(self, **options: Any) -> Listener:
        config = TLSListenerConfig(listen="127.0.0.1:0", **options)
        return self.start(TLSListener(reactor, self.tunnel, config))

    async def test_connect_says_why_a_dial_failed(self) -> None:
        listener = self.connect(node_host="::1", suffixes=["edge.example"], dial_timeout=3.0)
        for problem, line in (
            (DialError("refused", "nobody listens"), b"502 refused: nobody listens"),
            (DialError("denied", "not in the list"), b"403 denied: not in the list"),
            (DialError("timeout", "x"), b"504 timeout: x"),
            (DialError("not-connected", "x"), b"503 not-connected: x"),
        ):
            self.tunnel.problem = problem
            answer = await self.call(listener, b"CONNECT EDGE-1.edge.example.:10250 HTTP/1.1\r\n\r\n")
            self.assertEqual(answer.split(b"\r\n")[0], b"HTTP/1.1 " + line)
        self.assertEqual(set(self.tunnel.asked), {("edge-1", "[::1]:10250", 3.0)})

    async def test_connect_routes_on_the_target_and_not_on_the_host(self) -> None:
        listener = self.connect()
        await self.call(listener, b"CONNECT edge-1:10250 HTTP/1.1\r\nHost: edge-2:10250\r\n\r\n")
        before = self.refusals("connect", "name")
        answer = await self.call(listener, b"CONNECT edge-9:10250 HTTP/1.1\r\nHost: edge-2:10250\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 404 no connected node is called edge-9\r\n"))
        self.assertEqual(self.refusals("connect", "name"), before + 1)
        self.assertEqual([node for node, _, _ in self.tunnel.asked], ["edge-1"])

    async def test_connect_by_the_addresses_of_nodes_and_pods(self) -> None:
        index = NodeIndex(Ranges(["192.0.2.0/24", "2001:db8::/32"], ["10.64.0.0/16"]))
        index.put(Node("edge-1", ("192.0.2.7", "2001:db8::7"), (ip_network("10.64.1.0/24"),)))
        index.put(Node("edge-8", ("192.0.2.8",), ()))
        index.settle()
        directory = NodeDirectory([], NodeTable(), None, index)
        config = ConnectListenerConfig(listen=f"unix:{self.path}", suffixes=["edge.example"])
        listener = self.start(ConnectListener(reactor, self.tunnel, config, FileWatcher(reactor), directory))
        for target, node, address in (
            ("192.0.2.7:10250", "edge-1", "127.0.0.1:10250"),
            ("[2001:DB8::7]:10250", "edge-1", "127.0.0.1:10250"),
            ("10.64.1.5:8443", "edge-1", "10.64.1.5:8443"),
            # Known, though not connected: the tunnel says so.
            ("edge-8.edge.example:10250", "edge-8", "127.0.0.1:10250"),
            ("192.0.2.8:10250", "edge-8", "127.0.0.1:10250"),
        ):
            self.tunnel.asked.clear()
            await self.call(listener, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
            self.assertEqual([asked[:2] for asked in self.tunnel.asked], [(node, address)])
        self.tunnel.asked.clear()
        for target in ("10.96.0.1:443", "10.64.2.5:80", "192.0.2.9:10250", "web.default.svc:443"):
            answer = await self.call(listener, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
            self.assertIn(b" 404 ", answer)
        self.assertEqual(self.tunnel.asked, [])

    async def test_connect_waits_no_longer_than_it_says(self) -> None:
        self.patch(RequestCaller, "request_timeout", 0.05)
        before, listener = self.refusals("connect", "head"), self.connect()
        for says in (b"", b"CONNECT edge-1:10250 HTT"):
            answer = await self.call(listener, says)
            self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        self.assertEqual(self.refusals("connect", "head"), before + 2)

    async def test_connect_ends_an_endless_head(self) -> None:
        answer = await self.call(self.connect(), b"CONNECT edge-1:10250 HTTP/1.1\r\n" + b"X: y\r\n" * 5000)
        self.assertIn(answer.split(b" ")[1:2], ([b"400"], []), "the answer may be lost in the reset")
        self.assertEqual(self.tunnel.asked, [])

    async def test_a_handler_that_breaks_is_logged_and_drops_its_caller(self) -> None:
        self.tunnel.problem = ZeroDivisionError()
        listener = self.connect()
        self.assertEqual(await self.call(listener, b"CONNECT edge-1:10250 HTTP/1.1\r\n\r\n"), b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn(b" 404 ", await self.call(listener, b"CONNECT edge-9:10250 HTTP/1.1\r\n\r\n"))

    async def test_tls_routes_by_name_and_sends_the_hello_on(self) -> None:
        listener = self.tls(target="127.0.0.1:6443", suffixes=["edge.example"])
        await self.call(listener, client_hello("Edge-2.edge.example"))
        self.assertEqual(self.tunnel.asked, [("edge-2", "127.0.0.1:6443", 10.0)])

    async def test_tls_refuses_what_names_no_node(self) -> None:
        self.patch(RequestCaller, "request_timeout", 0.05)
        listener = self.tls()
        hello = client_hello("edge-1", maximum_version=ssl.TLSVersion.TLSv1_2)
        for says, reason in (
            (client_hello("edge-9"), "name"),
            (client_hello("edge-1.edge.example"), "name"),
            (client_hello(None), "name"),
            (b"GET / HTTP/1.1\r\n\r\n", "hello"),
            (hello[:40], "hello"),
            (b"", "hello"),
        ):
            before = self.refusals("tls", reason)
            self.assertEqual(await self.call(listener, says), b"")
            self.assertEqual(self.refusals("tls", reason), before + 1, says)
        self.assertEqual(self.tunnel.asked, [])

    async def test_networks(self) -> None:
        config = TCPListenerConfig(
            listen="127.0.0.1:0", node="Edge-1", target="127.0.0.1:22", allow=["192.0.2.0/24"]
        )
        before = self.refusals("tcp", "network")
        self.assertEqual(await self.call(self.start(TCPListener(reactor, self.tunnel, config)), b"x"), b"")
        self.assertEqual(self.tunnel.asked, [])
        self.assertEqual(self.refusals("tcp", "network"), before + 1)
        config = TCPListenerConfig(
            listen="127.0.0.1:0", node="Edge-1", target="127.0.0.1:22", allow=["127.0.0.0/8"]
        )
        await self.call(self.start(TCPListener(reactor, self.tunnel, config)), b"x")
        self.assertEqual(self.tunnel.asked, [("edge-1", "127.0.0.1:22", 10.0)])


class NetworkTests(SynchronousTestCase):
    def test_who_may_call(self) -> None:
        config = TLSListenerConfig(listen="[::]:0", allow=["10.0.0.0/8", "2001:db8::/32"])
        listener = TLSListener(reactor, FakeTunnel(), config)
        for peer, allowed in (
            (IPv4Address("TCP", "10.1.2.3", 1), True),
            (IPv4Address("TCP", "11.1.2.3", 1), False),
            (IPv6Address("TCP", "::ffff:10.1.2.3", 1), True),
            (IPv6Address("TCP", "::ffff:11.1.2.3", 1), False),
            (IPv6Address("TCP", "2001:db8::1", 1), True),
            (IPv6Address("TCP", "::1", 1), False),
            (UNIXAddress(b"/run/x.sock"), True),
        ):
            self.assertEqual(listener.allows(peer), allowed, peer)
