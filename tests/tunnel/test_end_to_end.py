"""Cloud, edge and listeners joined over real loopback TLS."""

from __future__ import annotations

import os
from typing import Any, cast

from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import formatEvent

from superedge.config.addresses import TCPAddress, UnixAddress
from superedge.config.listeners import (
    ConnectListenerConfig,
    HTTPSListenerConfig,
    TCPListenerConfig,
    TLSListenerConfig,
)
from superedge.mux import session
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.net.errors import ConnectError
from superedge.net.sockets import address_text
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from superedge.tls.denied import DenyList
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.connect import ConnectListener
from superedge.tunnel.listeners.http import HTTPSListener
from superedge.tunnel.listeners.tcp import TCPListener
from superedge.tunnel.listeners.tls import TLSListener
from tests.events import logged
from tests.tunnel.case import BIG, Answering, Caller, TunnelCase, reactor


class TunnelTests(TunnelCase):
    async def test_tcp_listener_passes_every_byte_and_both_ends(self) -> None:
        config = TCPListenerConfig(listen="127.0.0.1:0", node="edge-1", target=self.target)
        address = self.start(TCPListener(reactor, self.cloud, config))
        self.assertEqual(await self.call(address, BIG), BIG[::-1])

    async def test_tcp_listener_cuts_off_who_is_idle(self) -> None:
        config = TCPListenerConfig(listen="127.0.0.1:0", node="edge-1", target=self.target, idle_timeout=0.2)
        address = self.start(TCPListener(reactor, self.cloud, config))
        caller = Caller()
        await ClientEndpoint(reactor, address).connect(
            cast(Any, Factory.forProtocol(cast(Any, lambda: caller)))
        )
        self.assertEqual(await caller.ended, b"")

    async def test_connect_listener_on_a_unix_socket(self) -> None:
        path = f"/tmp/superedge-{os.getpid()}.sock"
        config = ConnectListenerConfig(listen=f"unix:{path}")
        self.start(ConnectListener(reactor, self.cloud, config, self.watcher))
        port = self.target.rpartition(":")[2]
        request = f"CONNECT EDGE-1:{port} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        answer = await self.call(UnixAddress(path), request + BIG)
        self.assertEqual(answer, b"HTTP/1.1 200 Connection established\r\n\r\n" + BIG[::-1])
        for request, status in (
            (b"CONNECT edge-9:10250 HTTP/1.1\r\n\r\n", b"404"),
            (b"CONNECT edge-1:1 HTTP/1.1\r\n\r\n", b"403"),
            (b"GET / HTTP/1.1\r\n\r\n", b"405"),
            (b"nonsense\r\n\r\n", b"400"),
        ):
            answer = await self.call(UnixAddress(path), request, half_close=False)
            self.assertEqual(answer.split(b" ")[1], status, answer)

    async def test_a_certificate_that_makes_no_node(self) -> None:
        name = "superedge_tunnel_sessions_refused_total"
        for common_name in ("system:node:10.96.0.1", "kubernetes.default.svc", "x.cluster.local"):
            before = REGISTRY.get_sample_value(name, {"end": "cloud"}) or 0.0
            self.make_edge(common_name, [self.target], reconnect_initial=60.0)
            await self.until(lambda: (REGISTRY.get_sample_value(name, {"end": "cloud"}) or 0.0) > before)  # noqa: B023
        self.assertEqual([session.node for session in self.cloud.nodes], ["edge-1"])

    async def test_a_stolen_certificate_is_denied_while_it_is_in_use(self) -> None:
        path = self.directory / "denied"
        path.write_text("")
        denied = DenyList(path)
        self.cloud._denied = denied
        client = self.ca.issue("kube-apiserver", directory=self.directory)
        config = ConnectListenerConfig(
            listen="127.0.0.1:0",
            certificate=self.server.certificate,
            key=self.server.key,
            client_ca=[self.ca.path],
        )
        listener = ConnectListener(reactor, self.cloud, config, self.watcher, denied=denied)
        address = self.start(listener)
        tls = ClientContextSource([self.ca.path], client.certificate, client.key)
        self.make_edge("system:node:edge-2", [self.target])
        await self.until(lambda: self.cloud.knows("edge-2"))
        caller = cast(
            Any,
            await ClientEndpoint(reactor, address, tls).connect(cast(Any, Factory.forProtocol(Caller))),
        )
        caller.transport.write(f"CONNECT edge-1:{self.target.rpartition(':')[2]} HTTP/1.1\r\n\r\n".encode())
        await self.until(lambda: caller.data)
        path.write_text(f"name edge-2\nserial {client.serial:x}\n")
        denied.reload()
        self.assertIn(b" 200 ", await caller.ended, "the splice is over")
        await self.until(lambda: not self.cloud.knows("edge-2"))
        answer = await self.call(address, b"CONNECT edge-1:1 HTTP/1.1\r\n\r\n", tls, half_close=False)
        self.assertIn(b" 403 denied: ", answer)
        self.assertTrue(self.cloud.knows("edge-1"))
        labels = {"end": "cloud"}
        name = "superedge_tunnel_sessions_refused_total"
        before = REGISTRY.get_sample_value(name, labels) or 0.0
        await self.until(lambda: (REGISTRY.get_sample_value(name, labels) or 0.0) > before)
        self.assertFalse(self.cloud.knows("edge-2"))

    async def test_connect_listener_over_tls_wants_a_known_client(self) -> None:
        config = ConnectListenerConfig(
            listen="127.0.0.1:0",
            certificate=self.server.certificate,
            key=self.server.key,
            client_ca=[self.ca.path],
            client_names=["kube-apiserver"],
        )
        address = self.start(ConnectListener(reactor, self.cloud, config, self.watcher))
        port = self.target.rpartition(":")[2]
        request = f"CONNECT edge-1:{port} HTTP/1.1\r\n\r\n".encode()
        good = self.ca.issue("kube-apiserver", directory=self.directory)
        other = self.ca.issue("somebody", directory=self.directory)
        known = ClientContextSource([self.ca.path], good.certificate, good.key)
        answer = await self.call(address, request + b"abc", known)
        self.assertEqual(answer, b"HTTP/1.1 200 Connection established\r\n\r\ncba")
        unknown = ClientContextSource([self.ca.path], other.certificate, other.key)
        self.assertIn(b" 403 ", await self.call(address, request, unknown))
        labels = {"kind": "connect", "reason": "tls"}
        refused = REGISTRY.get_sample_value("superedge_tunnel_callers_refused_total", labels) or 0.0
        self.assertEqual(await self.call(address, request, ClientContextSource([self.ca.path])), b"")
        self.assertEqual(
            REGISTRY.get_sample_value("superedge_tunnel_callers_refused_total", labels), refused + 1
        )

    async def test_new_files_are_shown_to_new_callers_and_old_ones_stay(self) -> None:
        pair = self.ca.issue("old", dns=["localhost"], directory=self.directory, name="door")
        files: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "certificate": pair.certificate,
            "key": pair.key,
            "client_ca": [self.ca.path],
        }
        connect, https = ConnectListenerConfig(**files), HTTPSListenerConfig(target=self.target, **files)
        client = self.ca.issue("kube-apiserver", directory=self.directory)
        tls = ClientContextSource([self.ca.path], client.certificate, client.key)
        addresses = [
            self.start(ConnectListener(reactor, self.cloud, connect, self.watcher)),
            self.start(HTTPSListener(reactor, self.cloud, https, self.watcher)),
        ]

        async def dial(address: TCPAddress) -> Any:
            endpoint = ClientEndpoint(reactor, address, tls, "localhost")
            protocol: Any = await endpoint.connect(cast(Any, Factory.forProtocol(Caller)))
            self.addCleanup(protocol.transport.abortConnection)
            return protocol

        old = [await dial(address) for address in addresses]
        self.ca.issue("new", dns=["localhost"], directory=self.directory, name="door")
        self.watcher.check()
        new = [await dial(address) for address in addresses]
        names = [caller.transport.peer_common_name for caller in (*old, *new)]
        self.assertEqual(names, ["old", "old", "new", "new"])
        port = self.target.rpartition(":")[2]
        old[0].transport.write(f"CONNECT edge-1:{port} HTTP/1.1\r\n\r\nabc".encode())
        old[0].transport.loseWriteConnection()
        self.assertTrue((await old[0].ended).endswith(b"\r\n\r\ncba"))

    async def test_tls_listener_routes_by_server_name_and_the_callers_own_tls_reaches_the_target(
        self,
    ) -> None:
        # The kubelet wants to see the caller's certificate: nobody between them can show it.
        shown: list[str | None] = []

        class Kubelet(Answering):
            def connectionMade(self) -> None:
                shown.append(self.transport.peer_common_name)

        pair = self.ca.issue("kubelet", dns=["edge-2", "edge-2.edge.example"], directory=self.directory)
        context = ServerContextSource(pair.certificate, pair.key, [self.ca.path], "required")
        kubelet = await ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0), context).listen(
            cast(Any, Factory.forProtocol(Kubelet))
        )
        self.addCleanup(kubelet.stopListening)
        target = f"127.0.0.1:{cast(Any, kubelet.getHost()).port}"
        self.make_edge("edge-2", [target])
        await self.until(lambda: self.cloud.knows("edge-2"))
        config = TLSListenerConfig(listen="127.0.0.1:0", target=target, suffixes=["edge.example"])
        address = self.start(TLSListener(reactor, self.cloud, config))
        client = self.ca.issue("kube-apiserver", directory=self.directory)
        tls = ClientContextSource([self.ca.path], client.certificate, client.key)
        for name in ("edge-2", "edge-2.edge.example"):
            self.assertEqual(await self.call(address, BIG, tls, name), BIG[::-1])
        self.assertEqual(shown, ["kube-apiserver"] * 2)
        # edge-1 may not dial that port, and there is no edge-9: the name alone decides.
        for name in ("edge-1", "edge-9"):
            await self.assertFailure(
                Deferred.fromCoroutine(self.call(address, b"x", tls, name)), ConnectError
            )
        self.assertEqual(len(shown), 2)

    async def test_node_name_comes_from_the_certificate_alone(self) -> None:
        stranger = Authority.create(self.directory / "stranger")
        self.make_edge("system:node:edge-3", [], stranger)
        self.make_edge("system:admin", [])
        await deferLater(reactor, 0.2)
        self.assertEqual([session.node for session in self.cloud.nodes], ["edge-1"])

    async def test_a_dial_that_succeeds_is_not_logged(self) -> None:
        events = logged(self)
        stream = await self.cloud.open("edge-1", self.target, timeout=60)
        self.assertEqual([formatEvent(event) for event in events], [])
        stream.abortConnection()

    async def test_one_line_for_each_session_that_begins_or_ends(self) -> None:
        events = logged(self)

        def lines(text: str) -> list[dict[str, Any]]:
            return [event for event in events if text in formatEvent(event)]

        edge = self.make_edge("system:node:edge-2", [])
        await self.until(lambda: self.cloud.knows("edge-2"))
        (began,) = lines("tunnel session of edge-2 started")
        session = self.cloud.nodes.get("edge-2")
        assert session is not None
        peer = address_text(session.connections[0].peer)
        wanted = {"node": "edge-2", "replica": "cloud-a", "peer": peer, "epoch": session.epoch}
        self.assertLessEqual(wanted.items(), began.items())
        await edge.stopService()
        await self.until(lambda: not self.cloud.knows("edge-2"))
        (ended,) = lines("tunnel session of edge-2 ended")
        self.assertLessEqual(wanted.items(), ended.items())
        self.assertTrue(ended["reason"])
        self.assertEqual(len(lines("edge-2")), 2)

    async def test_one_line_at_each_end_for_a_dial_that_fails(self) -> None:
        events = logged(self)
        opening: Deferred[Any] = Deferred.fromCoroutine(self.cloud.open("edge-1", "127.0.0.1:22", timeout=2))
        await self.assertFailure(opening, DialError)
        lines = {event["log_namespace"]: event for event in events}
        self.assertEqual(set(lines), {"superedge.tunnel.cloud", "superedge.tunnel.serve"})
        self.assertEqual(len(events), 2)
        for line in lines.values():
            self.assertEqual((line["address"], line["code"]), ("127.0.0.1:22", "denied"))
            self.assertIn("allow list", line["reason"])
        self.assertEqual(lines["superedge.tunnel.cloud"]["node"], "edge-1")

    async def test_denied_and_refused(self) -> None:
        for address, code in (("127.0.0.1:22", "denied"), ("nonsense", "denied"), ("unix:/x", "denied")):
            opening: Deferred[Any] = Deferred.fromCoroutine(self.cloud.open("edge-1", address, timeout=2))
            problem = await self.assertFailure(opening, DialError)
            self.assertEqual(problem.code, code)
        opening = Deferred.fromCoroutine(self.cloud.open("edge-9", "x:1", timeout=2))
        problem = await self.assertFailure(opening, DialError)
        self.assertEqual(problem.code, "not-connected")

    async def test_newest_session_wins_and_the_old_teardown_leaves_it(self) -> None:
        before = self.cloud.nodes.get("edge-1")
        self.make_edge("system:node:edge-1", [self.target])
        await self.until(lambda: self.cloud.nodes.get("edge-1") not in (before, None))
        await deferLater(reactor, 0.02)
        self.assertTrue(self.cloud.knows("edge-1"))

    async def test_a_session_that_has_used_up_its_stream_ids_is_followed_by_another(self) -> None:
        self.patch(session, "MAX_ID", 4)
        for _ in range(3):
            before = self.cloud.nodes.get("edge-1")
            for _ in range(2):
                stream = await self.cloud.open("edge-1", self.target, timeout=60)
                stream.abortConnection()
            await self.until(lambda before=before: self.cloud.nodes.get("edge-1") not in (before, None))

    async def test_reconnects_after_the_session_is_cut(self) -> None:
        session = self.cloud.nodes.get("edge-1")
        assert session is not None
        session.connections[0].abort("test")
        await self.until(lambda: self.cloud.nodes.get("edge-1") not in (session, None))
        stream = await self.cloud.open("edge-1", self.target, timeout=60)
        stream.abortConnection()
