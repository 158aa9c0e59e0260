"""Streams on which nothing moves."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.tunnel.listeners.idle import IdleWatch
from tests.mux.pair import Pair, Recorder
from tests.tunnel.listeners.case import ListenerCase


class IdleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pair, self.cut = Pair(), 0
        self.watch = IdleWatch(self.pair.clock, 40.0, self.count)
        self.watch.start()
        self.addCleanup(self.watch.stop)

    def count(self) -> None:
        self.cut += 1

    def wait(self, seconds: int) -> None:
        for _ in range(seconds // 10):
            self.pair.clock.advance(10)
            self.pair.pump()

    def test_what_moves_either_way_stays_and_what_rests_is_cut(self) -> None:
        ends = [self.pair.streams(Recorder(), Recorder()) for _ in range(3)]
        for near, _ in ends:
            self.watch.add(near)
        for _ in range(10):
            ends[0][0].write(b"x")
            ends[1][1].write(b"x")
            self.wait(30)
        self.assertEqual([near.closed for near, _ in ends], [False, False, True])
        self.assertEqual(self.cut, 1)
        self.wait(60)
        self.assertEqual(self.cut, 3)

    def test_what_is_gone_is_not_cut(self) -> None:
        near, _ = self.pair.streams(Recorder(), Recorder())
        self.watch.add(near)
        near.abortConnection()
        self.wait(100)
        self.assertEqual((self.cut, self.watch._seen), (0, {}))


class MemoryTests(ListenerCase):
    options = {"idle_timeout": 14_400.0}

    def test_a_stream_that_has_ended_is_forgotten_at_once(self) -> None:
        idle = self.listener._idle
        assert idle is not None
        self.connect()
        self.assertEqual(len(idle._seen), 1)
        self.caller.protocol.connectionLost(Failure(ConnectionLost()))
        self.pair.pump()
        self.assertEqual(len(idle._seen), 0)
