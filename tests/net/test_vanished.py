"""A peer that vanishes while bytes wait for it."""

from __future__ import annotations

import socket
import struct
from typing import Any, cast

from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.interfaces import IReactor
from superedge.net import transport
from superedge.net.liveness import connection_info, has_vanished
from superedge.net.transport import PEER_CHECK, ConnectionDropped, StreamTransport
from tests.mux.pair import Recorder


def info(probes: int = 0, unacked: int = 0, last_ack: int = 0) -> bytes:
    """A struct tcp_info; ``last_ack`` in seconds."""
    return struct.pack("8B13I", 1, 0, 0, probes, 0, 0, 0, 0, *[0] * 4, unacked, *[0] * 7, last_ack * 1000)


class VanishedTests(SynchronousTestCase):
    def setUp(self) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        self.peer = socket.create_connection(server.getsockname())
        sock, address = server.accept()
        server.close()
        self.addCleanup(self.peer.close)
        sock.setblocking(False)
        self.reactor = MemoryReactorClock()
        self.protocol = Recorder()
        self.transport: Any = StreamTransport(sock, self.protocol, cast(IReactor, self.reactor), address)
        self.transport.begin()
        self.addCleanup(sock.close)

    def test_what_the_kernel_says(self) -> None:
        for found, vanished in (
            (info(unacked=1, last_ack=29), False),
            (info(unacked=1, last_ack=30), True),
            (info(last_ack=3000), False),
            (info(probes=2, last_ack=200), False),
            (info(probes=3, last_ack=200), True),
        ):
            self.assertEqual(has_vanished(found), vanished)
        self.assertEqual(len(connection_info(self.transport.socket)), len(info()))

    def test_a_peer_that_reads_nothing_lives(self) -> None:
        self.transport.write(bytes(20_000_000))
        self.reactor.advance(PEER_CHECK)
        self.reactor.advance(PEER_CHECK)
        self.assertIsNone(self.protocol.lost)
        self.patch(transport, "has_vanished", lambda info: True)
        self.reactor.advance(PEER_CHECK)
        self.reactor.advance(0)
        self.assertIsInstance(self.protocol.lost, ConnectionDropped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_peer_is_asked_about_only_while_bytes_wait_for_it(self) -> None:
        self.transport.write(b"x")
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.transport.write(bytes(20_000_000))
        self.peer.settimeout(1)
        while self.transport.unsent():
            self.peer.recv(1 << 20)
            self.transport.doWrite()
        self.patch(transport, "has_vanished", lambda info: True)
        self.reactor.advance(PEER_CHECK)
        self.assertIsNone(self.protocol.lost)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.transport.connectionLost(Failure(ConnectionDropped("the end of the test")))
