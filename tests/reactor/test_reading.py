"""A socket that is read goes on after an error, on another one."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.reactor.loops import GRACE, stalled_loops
from superedge.reactor.reading import SocketReader
from tests.netsnapshot.threads import Threads


class Reader(SocketReader):
    """Reads datagrams; ``fault`` keeps it from opening another socket."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor, "the test's reader")
        self.fault: OSError | None = None
        self.read: list[bytes] = []
        self.opened = 0

    def open(self) -> socket.socket:
        if self.fault is not None:
            raise self.fault
        own, self.other = socket.socketpair(type=socket.SOCK_DGRAM)
        self.opened += 1
        return own

    def reopened(self) -> None:
        self.read.append(b"reopened")

    def doRead(self) -> None:
        assert self.sock is not None
        self.read.append(self.sock.recv(100))


class ReadingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.reactor: Any = Threads(self.clock)
        self.reader = Reader(self.reactor)
        self.reader.start()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        self.reader.stop()
        self.reader.other.close()

    def receive(self, data: bytes) -> None:
        self.reader.other.send(data)
        for each in self.reactor.readers:
            each.doRead()

    def fail(self, problem: Exception) -> None:  # type: ignore[override]
        self.reader.other.close()
        self.reader.connectionLost(Failure(problem))

    def test_after_an_error_it_reads_another_socket(self) -> None:
        self.receive(b"one")
        before = self.reader.fileno()
        self.fail(OSError(errno.ENOMEM, "Cannot allocate memory"))
        self.assertEqual((self.reactor.readers, self.reader.fileno()), (set(), -1))
        self.assertRaises(OSError, socket.socket, fileno=before)
        self.clock.advance(1.0)
        self.receive(b"two")
        self.assertEqual(self.reader.read, [b"one", b"reopened", b"two"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_while_none_can_be_opened_it_is_told_and_tried(self) -> None:
        self.reader.fault = OSError(errno.EMFILE, "Too many open files")
        self.fail(ValueError("odd"))
        self.clock.pump([1.0] * int(GRACE + 2))
        (told,) = stalled_loops()
        self.assertRegex(told, r"^the test's reader has stalled for \d+ s: .*Too many open files")
        self.reader.fault = None
        self.clock.pump([1.0] * 30)
        self.receive(b"two")
        self.assertEqual((self.reader.read, stalled_loops()), ([b"reopened", b"two"], []))
        self.flushLoggedErrors()

    def test_stopped_it_is_none_of_the_reactor_s(self) -> None:
        self.reader.stop()
        self.reader.connectionLost(Failure(ConnectionAbortedError()))
        self.clock.advance(60.0)
        self.assertEqual((self.reactor.readers, self.reader.fileno(), self.reader.opened), (set(), -1, 1))
