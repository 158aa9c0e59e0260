"""A listening socket in need: descriptors that have run out, or are about to."""

from __future__ import annotations

import errno
import os
import resource
import sys
from typing import Any, cast

from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.net.descriptors import KEPT, KEPT_BY_DIALS, KEPT_BY_MONITORING, ceiling
from superedge.net.listener import EXHAUSTED_PAUSE, ListeningSocket


class Accepted:
    number = 1

    def setblocking(self, flag: bool) -> None:
        pass

    def fileno(self) -> int:
        return self.number


class Socket:
    """Callers wait; ``problem`` is why none can be taken."""

    def __init__(self) -> None:
        self.problem = 0
        self.waiting = 0

    def fileno(self) -> int:
        return -1

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 7

    def close(self) -> None:
        pass

    def accept(self) -> tuple[Accepted, object]:
        if self.problem:
            raise OSError(self.problem, os.strerror(self.problem))
        if not self.waiting:
            raise BlockingIOError
        self.waiting -= 1
        return Accepted(), ("127.0.0.1", 1)


class ExhaustionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.socket = Socket()
        self.taken: list[Any] = []
        self.addresses: list[object] = []
        self.faults: list[OSError] = []
        self.port = ListeningSocket(
            cast(Any, self.socket),
            TCPAddress("127.0.0.1", 7),
            cast(Any, self.reactor),
            cast(Any, Factory()),
            lambda sock, peer: self.taken.append(sock),
            self.again,
        )
        self.port.startListening()
        self.addCleanup(self.port.stopListening)

    def again(self, address: object) -> Any:
        self.addresses.append(address)
        if self.faults:
            raise self.faults.pop()
        return self.socket

    def test_it_is_said_once_and_so_is_its_end(self) -> None:
        for code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            self.taken.clear()
            with capturedLogs() as events:
                self.socket.problem, self.socket.waiting = code, 3
                for _ in range(5):
                    self.port.doRead()
                    self.assertNotIn(self.port, self.reactor.getReaders())
                    self.reactor.advance(EXHAUSTED_PAUSE)
                    self.assertIn(self.port, self.reactor.getReaders())
                self.socket.problem = 0
                while self.socket.waiting:
                    self.port.doRead()
                self.port.doRead()
            self.assertEqual(len(self.taken), 3)
            self.assertEqual(
                [(event["log_level"].name, formatEvent(event)) for event in events],
                [
                    ("error", f"cannot accept on 127.0.0.1:7: {os.strerror(code)}; retrying"),
                    ("info", "accepting again on 127.0.0.1:7"),
                ],
            )

    def test_the_last_descriptors_are_not_for_callers(self) -> None:
        self.patch(Accepted, "number", ceiling(KEPT) - 1)
        self.socket.waiting = 3
        self.port.doRead()
        self.assertIn(self.port, self.reactor.getReaders())
        self.patch(Accepted, "number", ceiling(KEPT))
        with capturedLogs() as events:
            self.port.doRead()
        self.assertEqual((self.socket.waiting, len(self.taken)), (1, 2))
        self.assertEqual([event["log_level"].name for event in events], ["error"])
        self.patch(os, "dup", lambda _: ceiling(KEPT))
        self.patch(os, "close", lambda _: None)
        self.reactor.advance(EXHAUSTED_PAUSE)
        self.assertNotIn(self.port, self.reactor.getReaders())
        self.patch(os, "dup", lambda _: ceiling(KEPT) - 1)
        self.reactor.advance(EXHAUSTED_PAUSE)
        self.assertIn(self.port, self.reactor.getReaders())

    def test_one_that_is_closed_meanwhile_stays_closed(self) -> None:
        self.socket.problem = errno.EMFILE
        self.port.doRead()
        self.port.stopListening()
        self.reactor.advance(EXHAUSTED_PAUSE)
        self.assertNotIn(self.port, self.reactor.getReaders())

    def test_one_that_is_lost_is_replaced_at_the_same_address(self) -> None:
        self.faults = [OSError(errno.EADDRINUSE, "Address already in use")]
        self.socket.problem, self.socket.waiting = errno.EINVAL, 1
        self.port.doRead()
        self.assertNotIn(self.port, self.reactor.getReaders())
        self.socket.problem = 0
        self.reactor.pump([1.0] * 4)
        self.assertEqual(self.addresses, [TCPAddress("127.0.0.1", 7)] * 2)
        self.assertIn(self.port, self.reactor.getReaders())
        self.port.doRead()
        self.assertEqual(len(self.taken), 1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class CeilingTests(SynchronousTestCase):
    def test_who_leaves_how_many(self) -> None:
        for limit, found in {
            1024: (960, 992, 1016),
            256: (192, 224, 248),
            100: (75, 88, 97),
            -1: (sys.maxsize,) * 3,
        }.items():
            self.patch(resource, "getrlimit", lambda _: (limit, -1))  # noqa: B023
            kept = (KEPT, KEPT_BY_DIALS, KEPT_BY_MONITORING)
            self.assertEqual(tuple(ceiling(each) for each in kept), found, limit)
