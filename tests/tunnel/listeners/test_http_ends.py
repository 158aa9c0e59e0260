"""HTTP exchanges that end otherwise than by an answer, and what is kept, counted and given up."""

from __future__ import annotations

from typing import Any, cast

from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from superedge.mux.errors import StreamReset
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.upstreams import MAX_IDLE
from tests.tunnel.listeners.test_http import OK, Caller, HttpCase, get


class RepeatTests(HttpCase):
    """A kept connection that turns out to be closed."""

    def stale(self, request: bytes) -> tuple[Any, list[int]]:
        """A caller whose request went to one, and the statuses it was answered with so far."""
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], OK)
        self.ask(connection, request)
        cast(Any, self.targets[0].transport).abortConnection()
        self.pair.pump()
        return transport, self.statuses(transport)

    def test_what_may_change_something_is_not_asked_twice(self) -> None:
        for method in ("POST", "DELETE", "PATCH", "PUT"):
            self.setUp()
            _, statuses = self.stale(f"{method} / HTTP/1.1\r\nHost: edge-1\r\n\r\n".encode())
            self.assertEqual((statuses, len(self.tunnel.opened)), ([200, 502], 1), method)

    def test_nor_is_what_had_a_body(self) -> None:
        _, statuses = self.stale(b"GET / HTTP/1.1\r\nHost: edge-1\r\nContent-Length: 1\r\n\r\nx")
        self.assertEqual((statuses, len(self.tunnel.opened)), ([200, 502], 1))

    def test_anything_else_is_asked_once_more_and_no_oftener(self) -> None:
        for method in ("GET", "HEAD", "OPTIONS"):
            self.setUp()
            transport, statuses = self.stale(f"{method} / HTTP/1.1\r\nHost: edge-1\r\n\r\n".encode())
            self.assertEqual((statuses, len(self.tunnel.opened)), ([200], 2), method)
            cast(Any, self.targets[1].transport).abortConnection()
            self.pair.pump()
            self.assertEqual((self.statuses(transport), len(self.tunnel.opened)), ([502], 2), method)

    def test_what_may_change_something_goes_over_a_connection_just_used(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], OK)
        for pause, method, used in ((1, "POST", 1), (2, "GET", 1), (2, "POST", 2), (1, "POST", 2)):
            self.pair.clock.advance(pause)
            self.ask(connection, f"{method} / HTTP/1.1\r\nHost: edge-1\r\n\r\n".encode())
            self.assertEqual(len(self.targets), used, (pause, method))
            self.answer(self.targets[-1], OK)
        self.assertEqual(self.statuses(transport), [200] * 5)


class KeptTests(HttpCase):
    def test_a_bounded_number_is_kept(self) -> None:
        count = MAX_IDLE + 4
        for _ in range(count):
            self.ask(self.caller()[0], get("edge-1"))
        for target in self.targets:
            self.answer(target, OK)
        self.assertEqual([target.fin for target in self.targets], [False] * MAX_IDLE + [True] * 4)
        for _ in range(MAX_IDLE):
            self.ask(self.caller()[0], get("edge-1"))
        self.assertEqual(len(self.tunnel.opened), count, "all of them are used again")
        self.ask(self.caller()[0], get("edge-1"))
        self.assertEqual(len(self.tunnel.opened), count + 1)

    def test_one_that_is_used_stays(self) -> None:
        for _ in range(5):
            self.ask(self.caller()[0], get("edge-1"))
            self.answer(self.targets[0], OK)
            self.pair.clock.advance(40)  # of 50
            self.look()
            self.pair.pump()
        self.assertEqual((len(self.targets), self.targets[0].fin), (1, False))

    def test_one_that_the_target_closed_meanwhile_is_not_used(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], OK)
        cast(Any, self.targets[0].transport).loseConnection()
        self.pair.pump()
        self.assertEqual(self.listener._upstreams._idle, {}, "nothing is kept of it")
        self.ask(connection, b"POST / HTTP/1.1\r\nHost: edge-1\r\n\r\n")
        self.answer(self.targets[1], OK)
        self.assertEqual(self.statuses(transport), [200, 200])

    def test_a_listener_that_stops_keeps_none_and_finishes_what_it_began(self) -> None:
        idle, busy = self.caller(), self.caller()
        self.ask(busy[0], get("edge-1"))
        self.ask(idle[0], get("edge-2"))
        self.answer(self.targets[1], OK)
        self.listener.stopService()
        self.pair.pump()
        self.assertEqual([target.fin for target in self.targets], [False, True])
        self.assertEqual((idle[1].disconnecting, busy[1].disconnecting), (True, False))
        self.answer(self.targets[0], OK)
        self.assertEqual(self.statuses(busy[1]), [200])
        self.assertTrue(busy[1].disconnecting and self.targets[0].fin)


class _Full(Caller):
    """A caller that reads nothing."""

    def write(self, data: bytes) -> None:
        if self.producer is not None:
            cast(Any, self.producer).pauseProducing()


class SlowCallerTests(HttpCase):
    def setUp(self) -> None:
        super().setUp()
        slow = self.listener.make_protocol()
        slow.makeConnection(_Full())
        self.ask(slow, get("edge-1"))

    def test_the_targets_connection_serves_the_next_caller(self) -> None:
        self.answer(self.targets[0], b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        self.answer(self.targets[0], b"cd")
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], OK)
        self.assertEqual((self.statuses(transport), len(self.targets)), ([200], 1))

    def test_informational_responses_wait_in_the_nodes_window(self) -> None:
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: " + bytes(1000).replace(b"\0", b"x") + b"\r\n\r\n"
        target: Any = self.targets[0].transport
        for _ in range(1000):
            self.answer(self.targets[0], hints)
        self.assertGreater(target._state.unsent, 500 * len(hints))


class LeavingTests(HttpCase):
    def test_a_caller_that_leaves_gives_the_dial_up(self) -> None:
        given_up: list[Deferred[None]] = []
        self.tunnel.answer = Deferred(given_up.append)
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.assertFalse(transport.paused)
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(given_up, [self.tunnel.answer])

    def test_a_caller_that_leaves_after_its_body_ends_the_targets_work(self) -> None:
        connection, transport = self.caller()
        self.ask(connection, b"PUT / HTTP/1.1\r\nHost: edge-1\r\nContent-Length: 999999\r\n\r\n")
        cast(Any, self.targets[0].transport).pauseProducing()
        self.ask(connection, bytes(999_990))
        self.assertTrue(transport.paused)
        self.ask(connection, bytes(9))
        self.assertFalse(transport.paused, "an end of the connection is noticed")

    def test_a_caller_that_leaves_during_the_answer(self) -> None:
        connection, _ = self.caller()
        self.ask(connection, get("edge-1"))
        self.answer(self.targets[0], b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        connection.connectionLost(Failure(ConnectionDone()))
        self.pair.pump()
        self.assertIsInstance(self.targets[0].lost, StreamReset)

    def test_a_dial_that_breaks_drops_its_caller_and_is_logged(self) -> None:
        self.tunnel.problem = ZeroDivisionError()
        connection, transport = self.caller()
        self.ask(connection, get("edge-1"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(transport.aborted)
        self.tunnel.problem = None
        other, heard = self.caller()
        self.ask(other, get("edge-1"))
        self.answer(self.targets[0], OK)
        self.assertEqual(self.statuses(heard), [200])


class CountTests(HttpCase):
    def responses(self, status: str) -> float:
        labels = {"kind": "http", "status": status}
        return REGISTRY.get_sample_value("superedge_tunnel_http_responses_total", labels) or 0.0

    def refused(self, reason: str) -> float:
        labels = {"kind": "http", "reason": reason}
        return REGISTRY.get_sample_value("superedge_tunnel_callers_refused_total", labels) or 0.0

    def test_every_answer_is_counted_once(self) -> None:
        upgrade = b"GET / HTTP/1.1\r\nHost: edge-1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
        switched = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
        for status, request, answer in (
            ("200", get("edge-1"), OK),
            ("304", get("edge-1"), b"HTTP/1.1 304 Not Modified\r\n\r\n"),
            ("101", upgrade, switched),
            ("502", get("edge-1"), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
            ("404", get("edge-9"), b""),
            ("400", b"GET / HTTP/1.1\r\n\r\n", b""),
            ("403", get("edge-1"), b""),
        ):
            self.setUp()
            if status == "403":
                self.tunnel.problem = DialError("denied", "no")
            before = self.responses(status)
            connection, _ = self.caller()
            self.ask(connection, request)
            if answer:
                self.answer(self.targets[0], answer)
            self.assertEqual(self.responses(status), before + 1, status)

    def test_who_is_turned_away_is_counted_by_its_cause(self) -> None:
        for reason, request in (
            ("name", get("edge-9")),
            ("request", b"GET / HTTP/1.1\r\n\r\n"),
            ("name", get("edge-1.other.example")),
        ):
            before = self.refused(reason)
            self.ask(self.caller()[0], request)
            self.assertEqual(self.refused(reason), before + 1)
