"""How streams end while somebody is paused, and what is told of it."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.mux.errors import StreamReset
from superedge.mux.settings import INITIAL_WINDOW
from superedge.net.transport import ConnectionDropped
from tests.mux.pair import Pair, Recorder


class LostConnectionTests(SynchronousTestCase):
    def test_the_reason_of_a_lost_connection_is_in_plain_words(self) -> None:
        for lost, said in (
            (ConnectionAborted(), "this end dropped the connection"),
            (ConnectionDropped("its certificate is denied"), "its certificate is denied"),
            (ConnectionDone(), "the peer closed the connection and gave no reason"),
            (ConnectionLost(), "the peer closed the connection and gave no reason"),
        ):
            connection = Pair().dialer
            connection.connectionLost(Failure(lost))
            self.assertEqual(self.successResultOf(connection.when_closed()), said)


class EndTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pair = Pair()
        self.near_protocol, self.far_protocol = Recorder(), Recorder()
        near, far = self.pair.streams(self.far_protocol, self.near_protocol)
        self.near: Any = near
        self.far: Any = far
        self.pair.pump()

    def wait_for_reader(self, fin: bool = False) -> None:
        """Bytes wait for the far end, which is paused; perhaps the end behind them, too."""
        self.far.pauseProducing()
        self.near.write(b"unread")
        if fin:
            self.near.loseWriteConnection()
        self.pair.pump()

    def test_a_reset_reaches_who_is_paused_and_drops_what_waits(self) -> None:
        for fin in (False, True):
            self.setUp()
            self.wait_for_reader(fin)
            self.pair.dialer.abort("test")
            self.pair.acceptor.abort("test")
            self.pair.pump()
            self.assertIsInstance(self.far_protocol.lost, StreamReset)
            self.assertEqual((self.far_protocol.data, self.far_protocol.fin), (b"", False))
            self.far.resumeProducing()
            self.assertEqual(self.far_protocol.data, b"")

    def test_who_opened_gets_what_was_answered_before_a_reset(self) -> None:
        self.near.pauseProducing()
        self.far.write(b"413")
        self.pair.pump()
        self.far.abortConnection()
        self.pair.pump()
        self.assertIsNone(self.near_protocol.lost)
        self.near.resumeProducing()
        self.assertEqual(self.near_protocol.data, b"413")
        self.assertIsInstance(self.near_protocol.lost, StreamReset)

    def test_but_does_not_keep_it_for_ever(self) -> None:
        self.near.pauseProducing()
        self.far.write(b"413")
        self.pair.pump()
        self.far.abortConnection()
        self.pair.pump()
        for _ in range(4):
            self.pair.clock.advance(10)
            self.pair.pump()
        self.assertIsInstance(self.near_protocol.lost, StreamReset)
        self.assertEqual(self.near_protocol.data, b"")

    def test_who_accepted_drops_what_the_one_that_left_had_said(self) -> None:
        self.wait_for_reader()
        self.near.abortConnection()
        self.pair.pump()
        self.assertIsInstance(self.far_protocol.lost, StreamReset)
        self.assertEqual(self.far_protocol.data, b"")

    def test_a_reset_behind_what_is_queued(self) -> None:
        for size in (5, 3 * INITIAL_WINDOW):
            self.setUp()
            self.near.pauseProducing()
            self.far.write(bytes(size))
            self.far.abort_after_writes()
            self.far.abort_after_writes()
            self.near.write(b"nobody reads this")
            self.pair.pump()
            self.near.resumeProducing()
            self.pair.pump()
            self.assertEqual(len(self.near_protocol.data), size)
            self.assertIsInstance(self.near_protocol.lost, StreamReset)
            self.assertIsInstance(self.far_protocol.lost, ConnectionAborted)
            self.assertEqual(self.far_protocol.data, b"")

    def test_a_reset_that_waits_does_so_a_bounded_time(self) -> None:
        self.near.pauseProducing()
        self.far.write(bytes(3 * INITIAL_WINDOW))
        self.far.abort_after_writes()
        for _ in range(4):
            self.pair.pump()
            self.pair.clock.advance(10)
        self.pair.pump()
        self.assertIsInstance(self.far_protocol.lost, ConnectionAborted)

    def test_a_reset_instead_of_an_end_that_waits(self) -> None:
        self.near.pauseProducing()
        self.far.write(bytes(2 * INITIAL_WINDOW))
        self.far.loseConnection()
        self.far.abort_after_writes()
        self.pair.pump()
        self.near.resumeProducing()
        self.pair.pump()
        self.assertIsInstance(self.near_protocol.lost, StreamReset)
        self.assertFalse(self.near_protocol.fin)

    def test_who_is_paused_may_abort(self) -> None:
        self.wait_for_reader()
        self.far.unread(b"given back")
        self.far.abortConnection()
        self.pair.pump()
        self.assertIsInstance(self.far_protocol.lost, ConnectionAborted)
        self.assertEqual(self.far_protocol.data, b"")
        self.assertIsInstance(self.near_protocol.lost, StreamReset)

    def test_who_is_paused_may_close_and_hears_no_more(self) -> None:
        self.wait_for_reader(fin=True)
        self.far.unread(b"given back")
        self.far.loseConnection()
        self.pair.pump()
        for protocol in (self.far_protocol, self.near_protocol):
            self.assertIsInstance(protocol.lost, ConnectionDone)
        self.assertEqual((self.far_protocol.data, self.far_protocol.fin), (b"", False))
        self.assertTrue(self.near_protocol.fin)

    def test_closing_needs_nothing_else_to_be_sent(self) -> None:
        self.near.loseConnection()
        self.pair.pump()
        self.assertTrue(self.far_protocol.fin)
        self.far.stopProducing()
        self.pair.pump()
        self.assertIsInstance(self.near_protocol.lost, ConnectionDone)

    def test_closing_twice_is_closing(self) -> None:
        self.near.write(b"all")
        self.near.loseConnection()
        self.near.loseConnection()
        self.near.write(b"too late")
        self.far.loseWriteConnection()
        self.pair.pump()
        self.near.loseConnection()
        self.near.abortConnection()
        self.pair.pump()
        self.assertEqual(self.far_protocol.data, b"all")
        self.assertIsInstance(self.near_protocol.lost, ConnectionDone)
        self.assertEqual(len(self.pair.dialer.deadlines), 0)

    def test_what_is_given_back_comes_first_and_in_order(self) -> None:
        self.wait_for_reader()
        self.far.unread(b"2 ")
        self.far.unread(b"1 ")
        self.assertEqual(self.far_protocol.data, b"")
        self.far.resumeProducing()
        self.assertEqual(self.far_protocol.data, b"1 2 unread")

    def test_who_takes_over_gets_what_waits_and_the_end(self) -> None:
        self.wait_for_reader(fin=True)
        successor = Recorder()
        self.far.connect(successor)
        self.assertEqual((successor.data, successor.fin, successor.transport), (b"unread", True, self.far))
        self.assertEqual(self.far_protocol.data, b"")

    def test_a_producer_that_has_no_more_is_left_alone(self) -> None:
        class Producer:
            def __getattr__(self, name: str) -> Any:
                raise AssertionError(name)

        self.near.registerProducer(Producer(), True)
        self.near.unregisterProducer()
        self.far.pauseProducing()
        self.near.write(bytes(2_000_000))
        self.pair.pump()
        self.far.resumeProducing()
        self.far.abortConnection()
        self.pair.pump()
        self.assertIsInstance(self.near_protocol.lost, StreamReset)

    def test_a_producer_that_is_asked_for_each_piece(self) -> None:
        chunks = [bytes([number]) * 100_000 for number in range(20)]
        near, left = self.near, list(chunks)

        class Pulled:
            def resumeProducing(self) -> None:
                if left:
                    near.write(left.pop(0))
                else:
                    near.unregisterProducer()
                    near.loseConnection()

        near.registerProducer(Pulled(), False)
        self.assertEqual(len(left), 19, "the first is asked for at once")
        self.assertRaises(RuntimeError, near.registerProducer, Pulled(), False)
        self.pair.pump()
        self.assertTrue(self.far_protocol.data == b"".join(chunks) and self.far_protocol.fin)
