"""Splicing: bytes, ends and pressure pass from one transport to the other."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.net.splice import Splice


class FakeTransport:
    """Notes what is asked of it, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sent = b""
        self.producer: Any = None

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append(name)

    def write(self, data: bytes) -> None:
        self.sent += data
        self.calls.append("write")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None and streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None


class SpliceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.a, self.b = FakeTransport(), FakeTransport()
        self.splice = Splice()
        self.splice.left.makeConnection(self.a)
        self.assertEqual(self.a.calls, ["pauseProducing"])
        self.splice.right.makeConnection(self.b)
        self.assertEqual(self.a.calls[-1], "resumeProducing")

    def test_bytes_pass_and_each_side_produces_for_the_other(self) -> None:
        self.splice.left.dataReceived(b"ping")
        self.splice.right.dataReceived(b"pong")
        self.assertEqual((self.b.sent, self.a.sent), (b"ping", b"pong"))
        self.assertIs(self.a.producer, self.b)
        self.assertIs(self.b.producer, self.a)

    def test_a_fin_passes_and_the_other_way_stays_open(self) -> None:
        self.splice.left.dataReceived(b"request")
        self.splice.left.readConnectionLost()
        self.assertEqual(self.b.calls[-2:], ["write", "loseWriteConnection"])
        self.assertIsNone(self.b.producer, "it would wait for more")
        self.splice.right.dataReceived(b"answer")
        self.splice.right.readConnectionLost()
        self.assertEqual(self.a.sent, b"answer")
        self.assertEqual((self.a.calls[-1], self.b.calls[-1]), ("loseConnection", "loseConnection"))

    def test_a_reset_passes_as_a_reset(self) -> None:
        self.splice.left.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.b.calls[-1], "abortConnection")
        self.assertNoResult(self.splice.done)
        self.splice.right.connectionLost(Failure(ConnectionLost()))
        self.successResultOf(self.splice.done)

    def test_a_reset_by_who_answers_passes_behind_the_answer(self) -> None:
        self.splice.right.dataReceived(b"413")
        self.splice.right.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.a.calls[-2:], ["write", "abort_after_writes"])

    def test_nothing_is_left_to_the_garbage_collector(self) -> None:
        gone = weakref.ref(self.splice.left)
        self.splice.left.connectionLost(Failure(ConnectionDone()))
        self.splice.right.connectionLost(Failure(ConnectionDone()))
        gc.disable()
        self.addCleanup(gc.enable)
        del self.splice
        self.assertIsNone(gone())

    def test_a_close_flushes_the_other_side(self) -> None:
        self.splice.right.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.a.calls[-1], "loseConnection")
        self.assertIsNone(self.a.producer)

    def test_a_fin_after_the_other_side_is_gone_closes(self) -> None:
        self.splice.right.connectionLost(Failure(ConnectionDone()))
        self.a.calls.clear()
        self.splice.left.readConnectionLost()
        self.assertEqual(self.a.calls, ["loseConnection"])

    def test_abort_resets_both(self) -> None:
        self.splice.abort()
        self.assertEqual((self.a.calls[-1], self.b.calls[-1]), ("abortConnection", "abortConnection"))
