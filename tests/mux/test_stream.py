"""Streams behave as Twisted transports."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from superedge.mux.errors import SessionClosed, StreamRefused, StreamReset
from superedge.mux.frames import DATA, HEADER_SIZE, header
from superedge.mux.protocol import FLUSH_SIZE
from superedge.mux.settings import INITIAL_WINDOW, MuxSettings
from superedge.mux.stream import MuxStream
from superedge.net.transport import READ_SIZE
from tests.mux.pair import Pair, Recorder
from tests.producers import Producer

BIG = os.urandom(1000) * 3000


class Source(Producer):
    """A producer that brings ``size`` bytes at a time while it is not paused."""

    def __init__(self, stream: MuxStream, size: int) -> None:
        super().__init__()
        self.stream, self.size = stream, size
        self.brought = 0
        stream.connect(Recorder())
        stream.registerProducer(self, True)

    def bring(self) -> None:
        if not self.paused:
            self.brought += self.size
            self.stream.write(bytes(self.size))


class StreamTests(SynchronousTestCase):
    def joined(self, chunk: int = 1 << 30) -> tuple[Pair, Any, Any, Recorder, Recorder]:
        pair = Pair(chunk=chunk)
        near_protocol, far_protocol = Recorder(), Recorder()
        near, far = pair.streams(far_protocol, near_protocol)
        return pair, near, far, near_protocol, far_protocol

    def test_bytes_and_half_close_both_ways(self) -> None:
        pair, near, far, near_protocol, far_protocol = self.joined(chunk=1009)
        near.write(BIG)
        near.loseWriteConnection()
        pair.pump()
        self.assertTrue(far_protocol.data == BIG and far_protocol.fin)
        self.assertIsNone(far_protocol.lost)
        far.write(BIG[::-1])
        far.loseConnection()
        pair.pump()
        self.assertTrue(near_protocol.data == BIG[::-1] and near_protocol.fin)
        self.assertIsInstance(near_protocol.lost, ConnectionDone)
        self.assertIsInstance(far_protocol.lost, ConnectionDone)
        self.assertEqual((pair.dialer.stream_count, pair.acceptor.stream_count), (0, 0))

    def test_written_and_closed_at_once_loses_no_tail(self) -> None:
        pair = Pair()
        near = pair.dialer.open()
        near.connect(Recorder())
        near.write(b"tail" * 10_000)
        near.loseConnection()
        pair.pump()
        far = Recorder()
        pair.accepted[0].connect(far)
        pair.pump()
        self.assertTrue(far.data == b"tail" * 10_000 and far.fin)

    def test_a_protocol_without_half_close_is_closed_at_fin(self) -> None:
        lost = []

        class Plain(Protocol):
            def connectionLost(self, reason: Any = None) -> None:
                lost.append(reason.type)

        pair = Pair()
        near, _far = pair.streams(Plain(), Recorder())
        near.loseWriteConnection()
        pair.pump()
        self.assertEqual(lost, [ConnectionDone])

    def test_abort_is_a_reset(self) -> None:
        pair, near, _far, near_protocol, far_protocol = self.joined()
        near.write(b"never mind")
        near.abortConnection()
        self.assertIsNone(near_protocol.lost)
        pair.pump()
        self.assertIsInstance(near_protocol.lost, ConnectionAborted)
        self.assertIsInstance(far_protocol.lost, StreamReset)

    def test_a_reset_needs_nothing_else_to_be_sent(self) -> None:
        pair, near, _far, _, far_protocol = self.joined()
        pair.pump()
        near.abortConnection()
        pair.pump()
        self.assertIsInstance(far_protocol.lost, StreamReset)

    def test_a_stream_on_which_all_is_sent_lives_on(self) -> None:
        pair, near, far, near_protocol, far_protocol = self.joined()
        near.writeSequence([b"a", b"b", b""])
        far.loseWriteConnection()
        self.pass_time(pair, 3600)
        near.write(b"c")
        pair.pump()
        self.assertEqual((far_protocol.data, near_protocol.fin), (b"abc", True))
        self.assertEqual((near_protocol.lost, far_protocol.lost), (None, None))

    def test_a_producer_is_told_of_the_end(self) -> None:
        for ours in (True, False):
            pair, near, far, _, _ = self.joined()
            stopped: list[int] = []

            class Producer(Source):
                def __init__(self) -> None:
                    pass

                def stopProducing(self) -> None:
                    stopped.append(1)  # noqa: B023

            near.registerProducer(Producer(), True)
            (near if ours else far).abortConnection()
            pair.pump()
            self.assertEqual(stopped, [1])
            near.registerProducer(Producer(), True)
            self.assertEqual(stopped, [1, 1], "there is nothing to produce for")

    def test_paused_reader_holds_its_window_and_nobody_else(self) -> None:
        pair, near, far, _, far_protocol = self.joined()
        far.pauseProducing()
        near.write(BIG)
        pair.pump()
        self.assertEqual(far_protocol.data, b"")
        other, other_protocol = pair.dialer.open(), Recorder()
        other.connect(Recorder())
        pair.pump()
        pair.accepted[-1].connect(other_protocol)
        other.write(BIG)
        pair.pump()
        self.assertEqual(len(other_protocol.data), len(BIG))
        far.resumeProducing()
        pair.pump()
        self.assertEqual(far_protocol.data, BIG)

    def test_tiny_frames_wait_in_few_pieces(self) -> None:
        pair, _, far, _, far_protocol = self.joined()
        far.pauseProducing()
        for _ in range(20_000):
            pair.acceptor.dataReceived(header(DATA, 0, 1, 2) + b"ab")
        self.assertLess(len(far._waiting), 50)
        far.resumeProducing()
        self.assertEqual(far_protocol.data, b"ab" * 20_000)

    def test_producer_is_paused_when_the_peer_does_not_read(self) -> None:
        pair, near, far, _, far_protocol = self.joined()
        producer = Producer()
        far.pauseProducing()
        near.registerProducer(producer, True)
        near.write(b"x" * INITIAL_WINDOW)
        pair.pump()
        self.assertEqual(producer.calls, ["pause", "resume"])
        near.write(b"y" * INITIAL_WINDOW)
        pair.pump()
        self.assertEqual(producer.calls, ["pause", "resume", "pause"])
        far.resumeProducing()
        pair.pump()
        self.assertEqual(producer.calls[-1], "resume")
        near.unregisterProducer()
        self.assertEqual(len(far_protocol.data), 2 * INITIAL_WINDOW)

    def test_a_peer_that_takes_nothing_leaves_a_bounded_amount_unsent_whatever_the_streams(self) -> None:
        buffer, count, chunk = 1 << 20, 64, 50_000
        pair = Pair(MuxSettings(session_buffer=buffer))
        pair.dialer.pauseProducing()  # the connection's socket takes no more
        sources = [Source(pair.dialer.open(), chunk) for _ in range(count)]
        for _ in range(20):
            for source in sources:
                source.bring()
        brought = sum(source.brought for source in sources)
        self.assertGreater(brought, buffer)
        self.assertLessEqual(brought, buffer + count * chunk)
        pair.dialer.resumeProducing()
        for number, source in enumerate(sources):
            pair.pump()
            self.assertFalse(source.paused)
            far = Recorder()
            pair.accepted[number].connect(far)
            source.bring()
            pair.pump()
            self.assertEqual(len(far.data), source.brought)

    def test_streams_whose_readers_stand_still_take_the_buffer_and_hold_no_other_up(self) -> None:
        pair = Pair(MuxSettings(session_buffer=1 << 20))
        stalled = [Source(pair.dialer.open(), 100_000) for _ in range(8)]
        for _ in range(20):
            for source in stalled:
                source.bring()
            pair.pump()
        self.assertTrue(all(source.paused for source in stalled))
        lively = Source(pair.dialer.open(), 100_000)
        pair.pump()
        far = Recorder()
        pair.accepted[-1].connect(far)
        for _ in range(20):
            lively.bring()
            pair.pump()
        self.assertEqual(len(far.data), 2_000_000)
        before = [source.brought for source in stalled]
        for source in stalled:
            source.stream.abortConnection()
        pair.pump()
        freed = Source(pair.dialer.open(), 100_000)
        pair.dialer.pauseProducing()
        for _ in range(20):
            freed.bring()
        self.assertEqual(freed.brought, 300_000, "as much as one stream may hold: they left nothing behind")
        self.assertEqual([source.brought for source in stalled], before)

    def test_full_connection_stops_the_sender(self) -> None:
        pair, near, _far, _, _ = self.joined()
        pair.transports[0].producer.pauseProducing()
        near.write(BIG)
        pair.clock.advance(0)
        self.assertEqual(pair.transports[0].out, [])
        pair.transports[0].producer.resumeProducing()
        self.assertNotEqual(pair.transports[0].out, [])

    def test_a_read_is_one_write_and_less_goes_to_a_transport_that_was_blocked(self) -> None:
        pair, near, _far, _, _ = self.joined()
        transport = pair.transports[0]
        transport.out = []
        near.write(BIG[:READ_SIZE])
        pair.clock.advance(0)
        self.assertEqual([len(data) for data in transport.out], [READ_SIZE + HEADER_SIZE])
        transport.producer.pauseProducing()
        near.write(BIG[:READ_SIZE])
        pair.clock.advance(0)
        transport.producer.resumeProducing()
        self.assertEqual(len(transport.out[1]), FLUSH_SIZE)

    def test_a_peer_that_takes_nothing_is_the_kernels_to_give_up(self) -> None:
        for transport in Pair().transports:
            self.assertEqual(transport.patience, MuxSettings().ping_timeout)

    def test_close_waits_for_the_peer_a_bounded_time(self) -> None:
        pair, near, far, near_protocol, _ = self.joined()
        far.write(b"unwanted")
        near.loseConnection()
        pair.pump()
        self.assertIsNone(near_protocol.lost)
        pair.clock.advance(30)
        pair.pump()
        self.assertIsInstance(near_protocol.lost, ConnectionAborted)
        self.assertEqual(near_protocol.data, b"")

    def pass_time(self, pair: Pair, seconds: int) -> None:
        for _ in range(seconds // 10):
            pair.clock.advance(10)
            pair.pump()

    def test_a_reader_that_stands_still_gets_everything_however_long_both_ends_are_closed(self) -> None:
        pair, near, far, near_protocol, far_protocol = self.joined()
        far.pauseProducing()
        far.loseWriteConnection()
        pair.pump()
        near.write(BIG)
        near.loseConnection()
        self.pass_time(pair, 3600)
        self.assertIsNone(near_protocol.lost)
        far.resumeProducing()
        pair.pump()
        self.assertTrue(far_protocol.data == BIG and far_protocol.fin)
        for protocol in (near_protocol, far_protocol):
            self.assertIsInstance(protocol.lost, ConnectionDone)
        self.assertEqual(len(pair.dialer.deadlines), 0)

    def test_the_time_for_the_peers_end_begins_when_all_is_sent(self) -> None:
        for data in (BIG, BIG[: INITIAL_WINDOW + 1], b"x"):
            pair, near, far, near_protocol, far_protocol = self.joined()
            far.pauseProducing()
            near.write(data)
            near.loseConnection()
            if len(data) > INITIAL_WINDOW:
                self.pass_time(pair, 3600)
            far.resumeProducing()
            pair.pump()
            self.assertTrue(far_protocol.data == data and far_protocol.fin)
            self.pass_time(pair, 20)
            self.assertIsNone(near_protocol.lost)
            self.pass_time(pair, 10)
            self.assertIsInstance(near_protocol.lost, ConnectionAborted)

    def test_a_failing_protocol_resets_its_stream_alone(self) -> None:
        @implementer(IHalfCloseableProtocol)
        class Failing(Protocol):
            def dataReceived(self, data: bytes) -> None:
                raise RuntimeError("no")

            def readConnectionLost(self) -> None:
                raise RuntimeError("no")

            def writeConnectionLost(self) -> None:
                pass

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                raise RuntimeError("no")

        pair, near, _far, near_protocol, far_protocol = self.joined()
        for data, unread in ((b"x", b""), (b"", b""), (b"", b"given back")):
            other, other_protocol = pair.dialer.open(), Recorder()
            other.connect(other_protocol)
            pair.pump()
            pair.accepted[-1].unread(unread)
            pair.accepted[-1].connect(Failing())
            other.write(data)
            other.loseWriteConnection()
            pair.pump()
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2, "once for its end")
            self.assertIsInstance(other_protocol.lost, StreamReset)
        near.write(b"fine")
        pair.pump()
        self.assertEqual(far_protocol.data, b"fine")
        self.assertIsNone(near_protocol.lost)

    def test_end_of_the_session_resets_every_stream(self) -> None:
        pair, _near, _far, near_protocol, far_protocol = self.joined()
        closed = pair.acceptor.when_closed()
        pair.dialer.deadlines.start(10.0, self.fail)
        pair.dialer.close("going home")
        pair.pump()
        self.assertIsInstance(near_protocol.lost, StreamReset)
        self.assertIsInstance(far_protocol.lost, StreamReset)
        self.successResultOf(closed)
        self.assertRaises(SessionClosed, pair.dialer.open)
        self.assertEqual(self.successResultOf(pair.dialer.when_closed()), "going home")
        self.assertTrue(pair.acceptor.session.going_away, "it was told before the end")
        self.assertEqual(pair.clock.getDelayedCalls(), [], "nothing is left running")

    def test_go_away_refuses_new_streams_and_keeps_the_old(self) -> None:
        pair, near, _far, _, far_protocol = self.joined()
        told: list[int] = []
        pair.dialer.on_going_away = lambda: told.append(1)
        pair.acceptor.go_away()
        pair.pump()
        self.assertEqual(told, [1])
        self.assertRaises(StreamRefused, pair.dialer.open)
        near.write(b"still here")
        pair.pump()
        self.assertEqual(far_protocol.data, b"still here")

    def test_a_severed_link_is_noticed(self) -> None:
        pair, _near, _far, near_protocol, _ = self.joined()
        closed = pair.dialer.when_closed()
        pair.severed = True
        for _ in range(4):
            pair.clock.advance(10)
        self.assertIn("no answer to a ping", self.successResultOf(closed))
        self.assertIsInstance(near_protocol.lost, StreamReset)

    def test_protocol_error_is_told_to_the_peer(self) -> None:
        pair = Pair()
        pair.pump()
        closed = pair.acceptor.when_closed()
        pair.acceptor.dataReceived(b"\x01" * 12)
        self.assertIn("protocol error", self.successResultOf(closed))
        self.assertEqual(b"".join(pair.transports[1].out).hex(), "000300000000000000000001")
