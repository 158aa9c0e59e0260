from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.interfaces import IReactor
from superedge.reactor.iterations import ReactorIteration
from superedge.reactor.polling import dispatch_directly


class End:
    """One end of a socket pair; ``reads`` is what it does when there is something."""

    def __init__(self, sock: socket.socket, reads: Callable[[], Any]) -> None:
        self.sock = sock
        self.doRead = reads
        self.writable = 0
        self.lost: list[Failure] = []

    def fileno(self) -> int:
        return self.sock.fileno()

    def logPrefix(self) -> str:
        return "-"

    def doWrite(self) -> None:
        self.writable += 1

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)


class Observer:
    """An observer of the end of an iteration."""

    def __init__(self, over: Callable[[], Any]) -> None:
        self.iteration_ended = over


class PollingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = EPollReactor()
        dispatch_directly(cast(IReactor, self.reactor))
        self.sockets: list[socket.socket] = []
        self.addCleanup(self._close)

    def _close(self) -> None:
        self.reactor.removeAll()
        for sock in self.sockets:
            sock.close()
        self.reactor._poller.close()
        for waker in self.reactor._internalReaders:
            waker.connectionLost(None)

    def end(self, reads: Callable[[], Any]) -> tuple[End, socket.socket]:
        """An end that is read from, and its peer."""
        ours, theirs = socket.socketpair()
        self.sockets += (ours, theirs)
        end = End(ours, reads)
        self.reactor.addReader(end)
        return end, theirs

    def test_each_that_is_readable_is_read(self) -> None:
        read: list[str] = []
        _, one = self.end(lambda: read.append("one"))
        _, two = self.end(lambda: read.append("two"))
        self.end(lambda: read.append("three"))
        one.send(b"x")
        two.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual(sorted(read), ["one", "two"])

    def test_writable_and_half_closed_and_gone(self) -> None:
        end, peer = self.end(lambda: None)
        self.reactor.addWriter(end)
        self.reactor.doIteration(0)
        self.assertEqual(end.writable, 1)
        peer.close()
        self.reactor.doIteration(0)
        self.reactor.removeWriter(end)
        ended, peer = self.end(lambda: CONNECTION_DONE)
        peer.shutdown(socket.SHUT_WR)
        self.reactor.doIteration(0)
        self.assertIsInstance(ended.lost[0].value, ConnectionDone)
        self.assertNotIn(ended, self.reactor.getReaders())

    def test_a_failure_ends_that_one_alone(self) -> None:
        problem = RuntimeError("mine")

        def fail() -> None:
            raise problem

        read: list[str] = []
        failing, one = self.end(fail)
        _, two = self.end(lambda: read.append("two"))
        one.send(b"x")
        two.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual(failing.lost[0].value, problem)
        self.assertEqual(read, ["two"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertNotIn(failing, self.reactor.getReaders())

    def test_what_fails_in_the_end_is_logged(self) -> None:
        failing, peer = self.end(lambda: CONNECTION_DONE)

        def lost(reason: Failure) -> None:
            raise RuntimeError("mine")

        failing.connectionLost = lost  # type: ignore[method-assign]
        peer.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.reactor.doIteration(0)

    def test_one_that_another_took_out_is_not_read(self) -> None:
        ends: list[End] = []
        read: list[int] = []

        def take_out_the_other(number: int) -> None:
            read.append(number)
            self.reactor.removeReader(ends[1 - number])

        for number in (0, 1):
            end, peer = self.end(partial(take_out_the_other, number))
            ends.append(end)
            peer.send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual(len(read), 1)

    def test_it_waits_for_what_is_not_there_yet(self) -> None:
        read: list[bytes] = []
        end, peer = self.end(lambda: read.append(os.read(end.fileno(), 10)))
        self.reactor.callFromThread(lambda: None)  # what wakes the reactor
        self.reactor.doIteration(None)
        peer.send(b"x")
        self.reactor.doIteration(None)
        self.assertEqual(read, [b"x"])

    def test_an_iteration_ends_when_all_is_read(self) -> None:
        seen: list[str] = []
        observer = Observer(lambda: seen.append("over"))

        def read(name: str) -> None:
            seen.append(name)
            ReactorIteration.of(self.reactor).add(observer)

        _, one = self.end(partial(read, "read"))
        _, two = self.end(partial(read, "read"))
        one.send(b"x")
        two.send(b"x")
        self.reactor.doIteration(None)
        self.assertEqual(seen, ["read", "read", "over", "over"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_what_timed_calls_begin_does_not_wait_for_an_event(self) -> None:
        seen: list[str] = []
        ReactorIteration.of(self.reactor).add(
            Observer(lambda: self.reactor.callLater(0, self.reactor.callLater, 0, seen.append, "later"))
        )
        self.reactor.running = True
        self.reactor.doIteration(None)  # would wait for ever, had it not looked at the time again
        self.reactor.runUntilCurrent()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        ReactorIteration.of(self.reactor).add(
            Observer(lambda: ReactorIteration.of(self.reactor).add(Observer(lambda: seen.append("next"))))
        )
        self.reactor.doIteration(None)
        self.assertEqual(seen, ["next"])

    def test_an_event_may_know_that_it_is_alone(self) -> None:
        iteration = ReactorIteration.of(self.reactor)
        alone: list[bool] = []
        ends = [self.end(lambda: alone.append(iteration.single_event)) for _ in range(2)]
        ends[0][1].send(b"x")
        self.reactor.doIteration(0)
        self.assertEqual(alone, [True])
        self.assertFalse(iteration.single_event)
        ends[1][1].send(b"x")
        self.reactor.doIteration(0)  # neither took what it has
        self.assertEqual(alone, [True, False, False])

    def test_another_reactor_stays_as_it_is(self) -> None:
        clock = Clock()
        before = dict(vars(clock))
        dispatch_directly(cast(IReactor, clock))
        self.assertEqual(vars(clock), before)
