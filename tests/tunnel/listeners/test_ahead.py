"""What a caller sends while its stream is being opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.tunnel import LimitsConfig, TcpListenerConfig
from superedge.mux.settings import INITIAL_WINDOW
from superedge.mux.stream import MuxStream
from superedge.tunnel.dial import dial
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.tcp import TcpListener
from superedge.tunnel.messages import DialRequest
from superedge.tunnel.serve import StreamServer
from tests.mux.pair import Pair


class Socket(StringTransport):
    """A caller's or a target's connection."""

    protocol: Any = None
    finished = False
    aborted = False

    def loseWriteConnection(self) -> None:
        self.finished = True

    def abortConnection(self) -> None:
        self.aborted = True


class Handler:
    def __init__(self) -> None:
        self.done: Deferred[Any] = Deferred()

    async def connect(self, reactor: Any, request: Mapping[str, Any], timeout: float) -> Any:
        return await self.done


class AheadCase(SynchronousTestCase):
    """A tcp listener's caller, and an edge that connects when the test says so."""

    bandwidth = 0

    def setUp(self) -> None:
        self.pair, self.handler = Pair(), Handler()
        self.pair.on_accept = StreamServer(
            cast(Any, self.pair.clock), {"tcp": self.handler}, LimitsConfig()
        ).accept
        config = TcpListenerConfig(
            listen="127.0.0.1:0", node="edge-1", target="127.0.0.1:1", bandwidth=self.bandwidth
        )
        listener = TcpListener(cast(Any, self.pair.clock), cast(Any, self), config)
        self.caller, self.target = Socket(), Socket()
        self.caller.protocol = listener.make_protocol()
        self.caller.protocol.makeConnection(self.caller)
        self.pair.pump()

    async def open(self, node: str, address: str, *, timeout: float, kind: str, begun: Any) -> MuxStream:
        request = DialRequest(kind, address, timeout)
        return await dial(self.pair.dialer, request, begun)

    def says(self, data: bytes) -> None:
        self.caller.protocol.dataReceived(data)
        self.pair.pump()


class AheadTests(AheadCase):
    def test_it_is_at_the_node_before_the_target_is_connected_and_reaches_it_first(self) -> None:
        self.says(b"early ")
        self.assertEqual(self.pair.acceptor.stats.bytes_in, self.pair.dialer.stats.bytes_out)
        self.handler.done.callback(self.target)
        self.pair.pump()
        self.says(b"late")
        self.assertEqual(self.target.value(), b"early late")
        self.target.protocol.dataReceived(b"answer")
        self.pair.pump()
        self.assertEqual(self.caller.value(), b"answer")

    def test_its_end_passes_behind_it(self) -> None:
        self.says(b"all")
        self.caller.protocol.readConnectionLost()
        self.pair.pump()
        self.handler.done.callback(self.target)
        self.pair.pump()
        self.assertEqual((self.target.value(), self.target.finished), (b"all", True))
        self.target.protocol.dataReceived(b"answer")
        self.pair.pump()
        self.assertEqual(self.caller.value(), b"answer")

    def test_more_than_a_window_waits_in_the_callers_socket(self) -> None:
        self.says(bytes(INITIAL_WINDOW + 300_000))
        self.assertEqual(self.caller.producerState, "paused")
        self.handler.done.callback(self.target)
        self.pair.pump()
        self.assertEqual(self.caller.producerState, "producing")
        self.assertEqual(len(self.target.value()), INITIAL_WINDOW + 300_000)

    def test_a_refusal_ends_the_caller(self) -> None:
        self.says(b"early")
        self.handler.done.errback(DialError("refused", "nobody listens"))
        self.pair.pump()
        self.assertTrue(self.caller.aborted)
        self.assertEqual(self.pair.dialer.stream_count, 0)

    def test_a_caller_that_leaves_ends_the_dial(self) -> None:
        self.says(b"early")
        self.caller.protocol.connectionLost(Failure(ConnectionDone()))
        self.pair.pump()
        self.assertEqual((self.pair.dialer.stream_count, self.pair.acceptor.stream_count), (0, 0))


class PacedCase(AheadCase):
    """The listener's bandwidth is limited."""

    def setUp(self) -> None:
        super().setUp()
        self.brought = 0

    def pass_time(self, seconds: float) -> None:
        """Bring 64 KiB whenever the caller is read."""
        for _ in range(round(seconds / 0.01)):
            if self.caller.producerState == "producing":
                self.says(bytes(65536))
                self.brought += 65536
            self.pair.clock.advance(0.01)
            self.pair.pump()


class PacedTests(PacedCase):
    bandwidth = 100_000

    def test_a_limit_holds_before_the_target_is_connected_and_after(self) -> None:
        rate = self.bandwidth
        self.pass_time(1.0)
        self.assertLessEqual(self.brought, rate * 1.0 + 65536 * 2, "a burst, and what overdrew")
        self.assertGreaterEqual(self.brought, rate)
        self.assertEqual(self.caller.producerState, "paused")
        self.handler.done.callback(self.target)
        self.pair.pump()
        self.assertEqual(self.caller.producerState, "paused", "what came before is not paid for")
        self.pass_time(10.0)
        self.assertEqual(len(self.target.value()), self.brought)
        self.assertLessEqual(self.brought, rate * 11.0 + 65536 * 2)
        self.assertGreaterEqual(self.brought, rate * 11.0)


class GenerousTests(PacedCase):
    """What the limit lets pass still waits for the stream."""

    bandwidth = 4_000_000

    def test_a_stream_that_is_full_pauses_the_caller_whatever_the_limit_would_let_pass(self) -> None:
        self.pass_time(1.0)
        self.assertEqual(self.caller.producerState, "paused")
        self.assertLess(self.brought, 2 * INITIAL_WINDOW + 2 * 65536)
        self.handler.done.callback(self.target)
        self.pair.pump()
        self.assertEqual(self.caller.producerState, "producing")
