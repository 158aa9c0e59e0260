"""HTTP callers, the listener, and targets played by the test, joined in memory."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.listeners import HTTPListenerConfig
from superedge.mux.stream import MuxStream
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.http import HTTPListener
from superedge.web.h1 import RequestReader
from superedge.web.heads import RequestHead, ResponseHead
from superedge.web.idle import IdleLimits
from superedge.web.responses import ResponseReader
from tests.mux.pair import Pair, Recorder

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CODED = b"Transfer-Encoding: chunked\r\n"


def get(node: str, path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {node}\r\n\r\n".encode()


class Tunnel:
    """Streams that end in the test."""

    def __init__(self) -> None:
        self.pair = Pair()
        self.opened: list[tuple[str, str, str]] = []
        self.problem: Exception | None = None
        self.answer: Deferred[None] | None = None
        """Fires when targets are connected; None for at once."""

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
    ) -> MuxStream:
        self.opened.append((node, address, kind))
        if self.problem is not None:
            raise self.problem
        stream = self.pair.dialer.open()
        if self.answer is not None:
            await self.answer
        return stream


class Caller(StringTransport):
    """A caller's connection."""

    aborted = False
    paused = False

    def abortConnection(self) -> None:
        self.aborted = True

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False


class HttpCase(SynchronousTestCase):
    """A listener, callers, and targets behind every stream."""

    def setUp(self) -> None:
        self.tunnel = Tunnel()
        self.pair = self.tunnel.pair
        config = HTTPListenerConfig(
            listen="127.0.0.1:0",
            target="127.0.0.1:80",
            ports={"9100": "127.0.0.1:19100"},
            suffixes=["edge.example"],
            idle_timeout=50.0,
        )
        self.listener = HTTPListener(cast(Any, self.pair.clock), self.tunnel, config)
        self.targets: list[Recorder] = []

        def accept(stream: MuxStream) -> None:
            target = Recorder()
            self.targets.append(target)
            stream.connect(target)

        self.pair.on_accept = accept

    def caller(self) -> tuple[Any, Caller]:
        connection, transport = self.listener.make_protocol(), Caller()
        connection.makeConnection(transport)
        return connection, transport

    def look(self) -> None:
        """What is done every ten of the fifty seconds that connections may be idle."""
        self.listener._close_idle()
        self.listener._server.check_idle(IdleLimits(5, 5))

    def ask(self, connection: Any, data: bytes) -> None:
        connection.dataReceived(data)
        self.pair.pump()

    def answer(self, target: Recorder, data: bytes) -> None:
        cast(Any, target.transport).write(data)
        self.pair.pump()

    def statuses(self, transport: Caller) -> list[int]:
        value = transport.value()
        transport.clear()
        return [event.status for event in ResponseReader().feed(value) if isinstance(event, ResponseHead)]

    def requests(self, target: Recorder) -> list[bytes]:
        events = RequestReader().feed(target.data)
        return [event.target for event in events if isinstance(event, RequestHead)]


class HttpListenerTests(HttpCase):
    def test_requests_for_different_nodes_on_one_connection(self) -> None:
        connection, transport = self.caller()
        for node in ("edge-1", "edge-2.edge.example", "EDGE-1:9100"):
            self.ask(connection, get(node))
            self.answer(self.targets[-1], OK)
        self.assertEqual(
            self.tunnel.opened,
            [
                ("edge-1", "127.0.0.1:80", "tcp"),
                ("edge-2", "127.0.0.1:80", "tcp"),
                ("edge-1", "127.0.0.1:19100", "tcp"),
            ],
        )
        self.assertEqual(self.statuses(transport), [200, 200, 200])
        self.assertFalse(transport.disconnecting)

    def test_a_targets_connection_is_used_again_by_any_caller(self) -> None:
        for number in range(3):
            connection, transport = self.caller()
            self.ask(connection, get("edge-1", f"/{number}"))
            self.answer(self.targets[0], OK)
            self.assertEqual(self.statuses(transport), [200])
        self.assertEqual(self.requests(self.targets[0]), [b"/0", b"/1", b"/2"])
        self.assertEqual(len(self.tunnel.opened), 1)

    def test_pipelined_requests_are_asked_in_turn(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, get("edge-1", "/a") + get("edge-2", "/b") + get("edge-1", "/c"))
        self.assertEqual(len(self.targets), 1)
        self.assertTrue(transport.paused)
        self.answer(self.targets[0], OK.replace(b"ok", b"aa"))
        self.answer(self.targets[1], OK.replace(b"ok", b"bb"))
        self.answer(self.targets[0], OK.replace(b"ok", b"cc"))
        events = ResponseReader().feed(transport.value())
        self.assertEqual([event for event in events if isinstance(event, bytes)], [b"aa", b"bb", b"cc"])
        self.assertFalse(transport.paused)

    def test_a_pipelining_caller_is_not_read_while_a_node_is_dialled(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, get("edge-1", "/a") + get("edge-1", "/b"))
        self.assertTrue(transport.paused, "though the first request's dial is over")

    def test_causes(self) -> None:
        connection, transport = self.caller()
        for host, status, cause in (
            ("edge-9", 404, b"no connected node is called edge-9\n"),
            ("edge-1.other.example", 404, b"no connected node is called edge-1.other.example\n"),
        ):
            self.ask(connection, get(host))
            self.assertIn(b"HTTP/1.1 %d " % status, transport.value())
            self.assertTrue(transport.value().endswith(b"\r\n\r\n" + cause))
            transport.clear()
        for code, status in (("denied", 403), ("refused", 502), ("not-connected", 503), ("timeout", 504)):
            self.tunnel.problem = DialError(cast(Any, code), "for a reason")
            self.ask(connection, get("edge-1"))
            self.assertIn(b"HTTP/1.1 %d " % status, transport.value())
            self.assertTrue(transport.value().endswith(f"{code}: for a reason\n".encode()))
            transport.clear()
        self.assertFalse(transport.disconnecting, "the connection is of use for other nodes")
        self.ask(connection, b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.statuses(transport), [400])
        self.assertTrue(transport.disconnecting)

    def test_a_port_that_leads_nowhere(self) -> None:
        config = HTTPListenerConfig(listen="127.0.0.1:0", ports={"9100": "127.0.0.1:19100"})
        self.listener = HTTPListener(cast(Any, self.pair.clock), self.tunnel, config)
        connection, transport = self.caller()
        self.ask(connection, get("edge-1:9101"))
        self.ask(connection, get("edge-1"))
        self.assertEqual(self.statuses(transport), [404, 404])
        self.assertEqual(self.tunnel.opened, [])

    def test_bodies_pass_both_ways(self) -> None:
        connection, transport = self.caller()
        self.ask(
            connection, b"PUT / HTTP/1.1\r\nHost: edge-1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        )
        self.ask(connection, b"2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n")
        head, _, body = self.targets[0].data.partition(b"\r\n\r\n")
        self.assertEqual(body, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "trailers end here")
        self.answer(self.targets[0], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        self.assertIn(b"1\r\nx\r\n", transport.value())
        self.answer(self.targets[0], b"0\r\n\r\n")
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))
        self.ask(connection, b"PUT / HTTP/1.1\r\nHost: edge-1\r\nContent-Length: 3\r\n\r\nabc")
        self.assertTrue(self.targets[0].data.endswith(b"\r\n\r\nabc"))
        self.assertEqual(len(self.targets), 1)

    def test_head_has_no_body(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, b"HEAD / HTTP/1.1\r\nHost: edge-1\r\n\r\n")
        self.answer(self.targets[0], b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        self.assertIn(b"Content-Length: 1000\r\n", transport.value())
        transport.clear()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], OK)
        self.assertEqual(self.statuses(transport), [200])

    def test_expect_continue(self) -> None:
        connection, transport = self.caller()
        ask = b"PUT / HTTP/1.1\r\nHost: edge-1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        self.ask(connection, ask)
        self.answer(self.targets[0], b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertIn(b"HTTP/1.1 100 ", transport.value())
        self.ask(connection, b"abc")
        self.answer(self.targets[0], OK)
        self.assertTrue(transport.value().endswith(b"ok"))
        self.assertFalse(transport.disconnecting)
        transport.clear()
        self.ask(connection, ask)
        self.answer(self.targets[0], b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
        self.assertIn(b"Connection: close\r\n", transport.value(), "its body may or may not come")
        self.assertTrue(transport.disconnecting)
        self.assertIsNotNone(self.targets[0].lost, "and the target still waits for it")

    def test_refusals_do_not_take_a_body_for_a_request(self) -> None:
        connection, transport = self.caller()
        self.ask(
            connection, b"PUT / HTTP/1.1\r\nHost: edge-9\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        self.assertEqual(self.statuses(transport), [404])
        self.assertTrue(transport.disconnecting)

    def test_upgrade(self) -> None:
        connection, transport = self.caller()
        self.ask(
            connection,
            b"GET / HTTP/1.1\r\nHost: edge-1\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly",
        )
        self.assertIn(b"Upgrade: echo\r\n", self.targets[0].data)
        self.assertNotIn(b"early", self.targets[0].data)
        self.answer(
            self.targets[0],
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello",
        )
        self.assertTrue(transport.value().endswith(b"\r\n\r\nhello"))
        self.assertTrue(self.targets[0].data.endswith(b"\r\n\r\nearly"))
        cast(Any, transport).protocol.dataReceived(b"\0late")
        self.pair.pump()
        self.assertTrue(self.targets[0].data.endswith(b"early\0late"))

    def test_upgrade_that_is_refused(self) -> None:
        connection, transport = self.caller()
        self.ask(
            connection, b"GET / HTTP/1.1\r\nHost: edge-1\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        )
        self.answer(self.targets[0], OK)
        self.assertIn(b"Connection: close\r\n", transport.value())
        self.assertTrue(transport.disconnecting)

    def test_a_switch_that_nobody_asked_for(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        self.assertEqual(self.statuses(transport), [502])

    def test_targets_that_break(self) -> None:
        for says in (
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        ):
            connection, transport = self.caller()
            self.ask(connection, get("edge-1"))
            self.answer(self.targets[-1], says)
            self.assertEqual(self.statuses(transport), [502], says)
            self.assertFalse(transport.disconnecting)

    def test_what_device_servers_send_reaches_the_caller_unambiguously(self) -> None:
        for says in (
            b"HTTP/1.1 200 OK\nX-A: b\nContent-Length: 2\n\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A:\r\n b\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nX-A : b\r\nTransfer-Encoding: chunked\r\n\r\n2   \r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 9\r\n" + CODED + b"\r\n02\nok\n0\n\n",
        ):
            connection, transport = self.caller()
            self.ask(connection, get("edge-1"))
            self.answer(self.targets[-1], says)
            head, _, body = transport.value().partition(b"\r\n\r\n")
            lengths = [line for line in head.split(b"\r\n") if b"ength" in line or b"oding" in line]
            if body == b"ok":
                self.assertEqual(lengths, [b"Content-Length: 2"], says)
            else:
                self.assertEqual(
                    (lengths, body), ([b"Transfer-Encoding: chunked"], b"2\r\nok\r\n0\r\n\r\n"), says
                )
            self.assertIn(b"\r\nX-A: b\r\n", head + b"\r\n")
            self.assertFalse(transport.disconnecting)

    def test_utf8_in_a_query_goes_on_encoded(self) -> None:
        connection, _ = self.caller()
        self.ask(connection, get("edge-1", "/set?name=K\u00fcche"))
        self.assertEqual(self.requests(self.targets[0]), [b"/set?name=K%C3%BCche"])

    def test_an_answer_that_is_cut_short_is_not_taken_for_whole(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        cast(Any, self.targets[0].transport).abortConnection()
        self.pair.pump()
        self.assertTrue(transport.aborted)

    def test_a_body_that_ends_with_the_connection(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], b"HTTP/1.1 200 OK\r\n\r\nabc")
        cast(Any, self.targets[0].transport).loseConnection()
        self.pair.pump()
        self.assertTrue(transport.value().endswith(b"3\r\nabc\r\n0\r\n\r\n"))
        self.assertFalse(transport.disconnecting)

    def test_an_answer_to_what_was_not_asked_reaches_nobody(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], OK + OK.replace(b"ok", b"no"))
        self.ask(connection, get("edge-1"))
        self.assertEqual(len(self.targets), 2, "that connection is not used again")
        self.answer(self.targets[1], OK)
        self.assertNotIn(b"no", transport.value())
        self.assertEqual(self.statuses(transport), [200, 200])

    def test_a_target_that_speaks_first(self) -> None:
        def speak(stream: MuxStream) -> None:
            stream.write(b"SSH-2.0-x\r\n")
            self.targets.append(Recorder())
            stream.connect(self.targets[-1])

        self.pair.on_accept = speak
        self.tunnel.answer = Deferred()
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.tunnel.answer.callback(None)
        self.assertEqual(self.statuses(transport), [502], "at once")

    def test_a_kept_connection_that_the_target_closed(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], OK)
        self.ask(connection, get("edge-1"))
        cast(Any, self.targets[0].transport).abortConnection()
        self.pair.pump()
        self.answer(self.targets[1], OK)
        self.assertEqual(self.statuses(transport), [200, 200])
        self.ask(connection, b"POST / HTTP/1.1\r\nHost: edge-1\r\nContent-Length: 1\r\n\r\nx")
        cast(Any, self.targets[1].transport).abortConnection()
        self.pair.pump()
        self.assertEqual(self.statuses(transport), [502], "a POST is not sent twice")

    def test_a_caller_that_leaves_ends_the_targets_work(self) -> None:
        connection, _ = self.caller()
        self.ask(connection, get("edge-1"))
        connection.connectionLost(Failure(ConnectionDone()))
        self.pair.pump()
        self.assertIsNotNone(self.targets[0].lost)

    def test_a_caller_is_read_no_faster_than_the_node_takes(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, b"PUT / HTTP/1.1\r\nHost: edge-1\r\nContent-Length: 9999999\r\n\r\n")
        cast(Any, self.targets[0].transport).pauseProducing()
        sent = 0
        while not transport.paused and sent < 8 << 20:
            self.ask(connection, bytes(65536))
            sent += 65536
        self.assertLess(sent, 1 << 20)
        cast(Any, self.targets[0].transport).resumeProducing()
        self.pair.pump()
        self.assertFalse(transport.paused)

    def test_a_node_is_read_no_faster_than_the_caller_takes(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n")
        cast(Any, transport.producer).pauseProducing()
        before = len(transport.value())
        for _ in range(40):
            self.answer(self.targets[0], bytes(65536))
        self.assertEqual(len(transport.value()), before)
        cast(Any, transport.producer).resumeProducing()
        self.pair.pump()
        self.assertGreater(len(transport.value()), before + 40 * 65536 - 1)

    def test_bandwidth(self) -> None:
        config = HTTPListenerConfig(listen="127.0.0.1:0", target="127.0.0.1:80", bandwidth=100_000)
        self.listener = HTTPListener(cast(Any, self.pair.clock), self.tunnel, config)
        connection, transport = self.caller()
        self.ask(
            connection, b"PUT / HTTP/1.1\r\nHost: edge-1\r\nContent-Length: 400000\r\n\r\n" + bytes(300_000)
        )
        self.assertTrue(transport.paused, "more than the rate came")
        self.pair.clock.advance(1)
        self.pair.pump()
        self.assertTrue(transport.paused)
        self.pair.clock.advance(2)
        self.pair.pump()
        self.assertFalse(transport.paused)
        self.ask(connection, bytes(100_000))
        self.answer(self.targets[0], b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + bytes(200_000))
        before = len(transport.value())
        self.answer(self.targets[0], bytes(200_000))
        self.assertEqual(len(transport.value()), before, "it waits in the node's window")
        self.answer(self.targets[0], bytes(200_000))
        for _ in range(100):
            self.pair.clock.advance(0.1)
            self.pair.pump()
        self.assertTrue(transport.value().endswith(bytes(600_000)))

    def test_what_is_kept_is_closed_in_time(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], OK)
        for _ in range(5):
            self.pair.clock.advance(10)
            self.look()
            self.pair.pump()
        self.assertTrue(self.targets[0].fin)
        self.pair.clock.advance(10)
        self.look()
        self.assertTrue(transport.disconnecting)
