"""What a peer said before its connection broke is heard, and a reset comes behind what was sent."""

from __future__ import annotations

import socket
import struct
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from superedge.interfaces import IReactor
from superedge.net.transport import StreamTransport

reactor = cast(IReactor, _reactor)
RESET = struct.pack("ii", 1, 0)


class Listening(Protocol):
    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.lost: Failure | None = None
        self.over: Deferred[None] = Deferred()
        self.on_data: Any = lambda: None

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self.on_data()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        self.over.callback(None)


class LastWordsTests(TestCase):
    """A transport of ours and a plain socket of its peer."""

    def setUp(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        near = socket.create_connection(listener.getsockname())
        self.peer, _ = listener.accept()
        listener.close()
        self.addCleanup(self.peer.close)
        near.setblocking(False)
        self.protocol = Listening()
        self.transport = StreamTransport(near, self.protocol, reactor, near.getpeername())
        self.transport.begin()

    def reset(self) -> None:
        """As a server's kernel does that closes with bytes unread."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.peer.close()

    async def test_an_answer_before_a_reset_is_heard_though_writing_fails_first(self) -> None:
        self.peer.sendall(b"413")
        self.reset()
        self.transport.write(b"x")
        self.transport.write(b"x")
        self.transport.connectionLost(Failure(ConnectionLost()))  # as the reactor does after a failed write
        await self.protocol.over
        self.assertEqual(self.protocol.data, b"413")
        assert self.protocol.lost is not None
        self.assertIsInstance(self.protocol.lost.value, ConnectionLost)

    async def test_a_paused_protocol_hears_it_when_it_reads_again(self) -> None:
        self.transport.pauseProducing()
        self.peer.sendall(b"413")
        self.reset()
        for _ in range(3):
            self.transport.write(b"x")
        await deferLater(reactor, 0.02)
        self.assertIsNone(self.protocol.lost)
        self.transport.write(b"nobody takes this")
        self.transport.resumeProducing()
        await self.protocol.over
        self.assertEqual(self.protocol.data, b"413")
        assert self.protocol.lost is not None
        self.assertIsInstance(self.protocol.lost.value, ConnectionLost)

    async def test_a_protocol_that_paused_since_it_could_not_write_is_told(self) -> None:
        self.transport.registerProducer(self.transport, True)
        self.transport.write(bytes(20_000_000))
        self.assertTrue(self.transport.producerPaused)
        self.peer.sendall(b"413")
        self.reset()
        await self.protocol.over
        self.assertEqual(self.protocol.data, b"413")

    async def test_a_paused_protocol_is_told_at_once_when_nothing_waits(self) -> None:
        self.transport.pauseProducing()
        self.reset()
        for _ in range(3):
            self.transport.write(b"x")
        await self.protocol.over
        self.assertEqual(self.protocol.data, b"")

    async def test_who_closes_in_its_last_words_is_told_once(self) -> None:
        for ending in ("loseConnection", "abortConnection", "pauseProducing"):
            self.setUp()
            self.protocol.on_data = getattr(self.transport, ending)
            self.peer.sendall(b"413")
            self.reset()
            self.transport.write(b"x")
            self.transport.write(b"x")
            await self.protocol.over
            self.assertEqual(self.protocol.data, b"413", ending)
            await deferLater(reactor, 0)

    async def test_an_orderly_end_that_a_failed_write_hides_is_no_orderly_end(self) -> None:
        self.reset()
        self.transport.write(b"x")
        self.transport.write(b"x")
        await self.protocol.over
        assert self.protocol.lost is not None
        self.assertIsInstance(self.protocol.lost.value, ConnectionLost)

    async def test_a_reset_comes_behind_what_is_queued(self) -> None:
        data = bytes(20_000_000)
        self.transport.write(data)
        self.assertGreater(self.transport.unsent(), 0)
        self.transport.abort_after_writes()
        self.transport.abort_after_writes()
        self.peer.setblocking(False)
        got = 0
        while True:
            try:
                piece = self.peer.recv(1_000_000)
            except BlockingIOError:
                await deferLater(reactor, 0.001)
                continue
            except ConnectionResetError:
                break
            self.assertTrue(piece, "an orderly end")
            got += len(piece)
        await self.protocol.over
        assert self.protocol.lost is not None
        self.assertIsInstance(self.protocol.lost.value, ConnectionAborted)
        self.assertGreater(got, len(data) - 8_000_000, "but for what the kernel still held")

    async def test_a_reset_with_nothing_queued_comes_at_once(self) -> None:
        self.transport.abort_after_writes()
        await self.protocol.over
        self.assertRaises(ConnectionResetError, self.peer.recv, 1)
