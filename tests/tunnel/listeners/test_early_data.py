"""What a caller sends while its stream is being opened."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from superedge.mux.settings import INITIAL_WINDOW
from superedge.tunnel.errors import DialError
from tests.tunnel.listeners.case import ListenerCase


class AheadTests(ListenerCase):
    def test_it_is_at_the_node_before_the_target_is_connected_and_reaches_it_first(self) -> None:
        self.says(b"early ")
        self.assertEqual(self.pair.acceptor.stats.bytes_in, self.pair.dialer.stats.bytes_out)
        self.connect()
        self.says(b"late")
        self.assertEqual(self.target.value(), b"early late")
        self.target.protocol.dataReceived(b"answer")
        self.pair.pump()
        self.assertEqual(self.caller.value(), b"answer")

    def test_its_end_passes_behind_it(self) -> None:
        self.says(b"all")
        self.caller.protocol.readConnectionLost()
        self.pair.pump()
        self.connect()
        self.assertEqual((self.target.value(), self.target.finished), (b"all", True))
        self.target.protocol.dataReceived(b"answer")
        self.pair.pump()
        self.assertEqual(self.caller.value(), b"answer")

    def test_what_comes_after_it_has_its_end_and_its_loss(self) -> None:
        self.says(b"early ")
        self.connect()
        self.says(b"late")
        self.caller.protocol.readConnectionLost()
        self.pair.pump()
        self.assertEqual((self.target.value(), self.target.finished), (b"early late", True))
        self.caller.protocol.connectionLost(Failure(ConnectionLost()))
        self.pair.pump()
        self.assertTrue(self.target.aborted)
        self.assertEqual(self.pair.dialer.stream_count, 0)

    def test_more_than_a_window_waits_in_the_callers_socket(self) -> None:
        self.says(bytes(INITIAL_WINDOW + 300_000))
        self.assertEqual(self.caller.producerState, "paused")
        self.connect()
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


class WaitingTests(ListenerCase):
    """No stream can be opened yet: another replica is dialled, as a rule."""

    def setUp(self) -> None:
        self.opening = Deferred()
        super().setUp()

    def test_nothing_is_read_before_it_can_be_passed_on(self) -> None:
        self.assertEqual(self.caller.producerState, "paused")
        assert self.opening is not None
        self.opening.callback(None)
        self.assertEqual(self.caller.producerState, "producing")
        self.says(b"hello")
        self.connect()
        self.assertEqual(self.target.value(), b"hello")


class PacedCase(ListenerCase):
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
    options = {"bandwidth": 100_000}

    def test_a_limit_holds_before_the_target_is_connected_and_after(self) -> None:
        rate = self.options["bandwidth"]
        self.pass_time(1.0)
        self.assertLessEqual(self.brought, rate * 1.0 + 65536 * 2, "a burst, and what overdrew")
        self.assertGreaterEqual(self.brought, rate)
        self.assertEqual(self.caller.producerState, "paused")
        self.connect()
        self.assertEqual(self.caller.producerState, "paused", "what came before is not paid for")
        self.pass_time(10.0)
        self.assertEqual(len(self.target.value()), self.brought)
        self.assertLessEqual(self.brought, rate * 11.0 + 65536 * 2)
        self.assertGreaterEqual(self.brought, rate * 11.0)


class GenerousTests(PacedCase):
    """What the limit lets pass still waits for the stream."""

    options = {"bandwidth": 4_000_000}

    def test_a_stream_that_is_full_pauses_the_caller_whatever_the_limit_would_let_pass(self) -> None:
        self.pass_time(1.0)
        self.assertEqual(self.caller.producerState, "paused")
        self.assertLess(self.brought, 2 * INITIAL_WINDOW + 2 * 65536)
        self.connect()
        self.assertEqual(self.caller.producerState, "producing")
