from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.web.heads import Headers, ResponseHead
from superedge.web.idle import IdleLimits, idle_client_check
from superedge.web.responses import ResponseReader
from superedge.web.server import ServerConnection, ServerFactory
from superedge.web.serverrequest import MAX_PENDING, Request

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


class Transport(StringTransport):
    aborted = False
    halves = 0
    unsent = staticmethod(lambda: 0)

    def abortConnection(self) -> None:
        self.aborted = True

    @property
    def paused(self) -> bool:
        return self.producerState == "paused"


class Receiver:
    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.ended = False
        self.lost = False

    def body(self, data: bytes) -> None:
        self.chunks.append(data)

    def body_end(self, trailers: Headers) -> None:
        self.ended = True

    def client_lost(self) -> None:
        self.lost = True


class ServerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.requests: list[Request] = []
        self.factory = ServerFactory(self.requests.append)
        self.connection: ServerConnection = self.factory.buildProtocol(None)
        self.transport = Transport()
        self.connection.makeConnection(self.transport)

    def receive(self, data: bytes) -> None:
        self.connection.dataReceived(data)

    def sent(self) -> bytes:
        value: bytes = self.transport.value()
        self.transport.clear()
        return value

    def test_response_of_known_length(self) -> None:
        self.receive(GET % 1)
        self.requests[0].respond(200, [(b"X-Y", b"z")], b"body")
        self.assertEqual(self.sent(), b"HTTP/1.1 200 OK\r\nX-Y: z\r\nContent-Length: 4\r\n\r\nbody")
        self.assertTrue(self.connection.idle)

    def test_small_response_is_one_write(self) -> None:
        writes: list[bytes] = []
        self.connection.send = writes.append
        self.receive(GET % 1)
        request = self.requests[0]
        request.start(200, b"OK", [(b"Content-Length", b"2")], True)
        request.write([b"a", b"b"])
        request.finish()
        self.assertEqual(len(writes), 1)

    def test_streamed_response_is_chunked(self) -> None:
        self.receive(GET % 1)
        request = self.requests[0]
        request.start(200, b"OK", [], False)
        request.write([b"abc"])
        request.flush()
        self.assertTrue(self.sent().endswith(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"))
        request.finish([(b"X-Sum", b"1")])
        self.assertEqual(self.sent(), b"0\r\nX-Sum: 1\r\n\r\n")

    def test_client_of_http_1_0_gets_no_chunks(self) -> None:
        self.receive(b"GET / HTTP/1.0\r\n\r\n")
        request = self.requests[0]
        request.start(200, b"OK", [], False)
        request.write([b"abc"])
        request.finish()
        self.assertEqual(self.sent(), b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")
        self.assertTrue(self.transport.disconnecting)

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        self.receive(b"".join(GET % number for number in range(3)))
        self.assertEqual(len(self.requests), 1)
        self.assertTrue(self.transport.paused)
        for number in range(3):
            self.assertEqual(self.requests[number].head.target, b"/%d" % number)
            self.requests[number].respond(200, [], b"%d" % number)
        bodies = [event for event in ResponseReader().feed(self.sent()) if isinstance(event, bytes)]
        self.assertEqual(bodies, [b"0", b"1", b"2"])
        self.assertFalse(self.transport.paused)

    def test_reading_goes_on_when_neither_the_body_nor_the_next_request_has_to_wait(self) -> None:
        self.receive(GET % 1 + GET % 2)
        self.requests[0].pauseProducing()
        self.requests[0].resumeProducing()
        self.assertTrue(self.transport.paused, "the second request waits")
        self.requests[0].pauseProducing()
        self.requests[0].respond(200, [])
        self.assertFalse(self.transport.paused, "what was held for the first is over with it")

    def test_the_last_request_of_a_connection(self) -> None:
        self.receive(GET % 1 + GET % 2)
        self.requests[0].close_after()
        self.requests[0].respond(200, [])
        self.assertIn(b"Connection: close\r\n", self.sent())
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(len(self.requests), 1)

    def test_no_request_behind_the_last_one_is_handled(self) -> None:
        def handle(request: Request) -> None:
            self.requests.append(request)
            request.close_after()
            request.respond(400, [])

        self.factory._handler = handle
        connection = self.factory.buildProtocol(None)
        connection.makeConnection(self.transport)
        connection.dataReceived(GET % 1 + GET % 2)
        self.assertEqual((len(self.requests), self.transport.disconnecting), (1, True))

    def test_a_client_may_send_its_body_before_it_reads_the_last_response(self) -> None:
        for end in (b"llo" + GET % 2, b"", None):
            self.setUp()
            self.receive(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe")
            self.requests[0].close_after()
            self.requests[0].respond(404, [])
            self.assertFalse(self.transport.disconnecting)
            if end is None:
                self.factory.check_idle(IdleLimits(1, 9))
                self.assertFalse(self.transport.disconnecting)
                self.receive(b"l")
                self.factory.check_idle(IdleLimits(1, 9))
            elif end:
                self.receive(end)
            else:
                self.connection.readConnectionLost()
            self.assertEqual((len(self.requests), self.transport.disconnecting), (1, True))
            self.assertFalse(self.transport.aborted)

    def test_a_body_that_waits_for_leave_is_not_awaited(self) -> None:
        self.receive(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        self.requests[0].close_after()
        self.requests[0].respond(404, [])
        self.assertTrue(self.transport.disconnecting)

    def test_garbage_in_the_rest_of_an_answered_request_gets_no_response(self) -> None:
        self.receive(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.requests[0].respond(404, [])
        self.sent()
        self.receive(b"garbage")
        self.assertEqual((self.sent(), self.transport.disconnecting), (b"", True))

    def test_handler_may_answer_at_once(self) -> None:
        self.factory._handler = lambda request: request.respond(204, [])
        connection = self.factory.buildProtocol(None)
        connection.makeConnection(self.transport)
        connection.dataReceived(b"".join(GET % number for number in range(50)))
        self.assertEqual(self.sent().count(b"HTTP/1.1 204"), 50)

    def test_body_waits_for_its_receiver(self) -> None:
        self.receive(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel")
        receiver = Receiver()
        self.requests[0].receive(receiver)
        self.assertEqual((receiver.chunks, receiver.ended), ([b"hel"], False))
        self.receive(b"lo")
        self.assertEqual((b"".join(receiver.chunks), receiver.ended), (b"hello", True))

    def test_a_client_whose_body_is_held_is_read_again_when_it_is_whole(self) -> None:
        self.receive(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel")
        self.requests[0].receive(Receiver())
        self.requests[0].pauseProducing()
        self.assertTrue(self.transport.paused)
        self.receive(b"lo")
        self.assertFalse(self.transport.paused, "an end of the connection is noticed")

    def test_answered_before_its_body_came(self) -> None:
        self.receive(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe")
        self.requests[0].respond(413, [])
        self.receive(b"llo" + GET % 2)
        self.assertEqual(self.requests[1].head.target, b"/2")

    def test_client_that_goes_away(self) -> None:
        self.receive(GET % 1)
        receiver = Receiver()
        self.requests[0].receive(receiver)
        self.connection.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(receiver.lost)
        self.assertTrue(self.requests[0].finished)
        self.assertEqual(self.factory.connections, set())

    def test_client_that_half_closes_while_it_waits(self) -> None:
        self.receive(GET % 1)
        self.connection.readConnectionLost()
        self.assertTrue(self.transport.aborted)

    def test_garbage_is_400(self) -> None:
        self.receive(b"\x16\x03\x01hello\r\n\r\n")
        answer = self.sent()
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"))
        self.assertTrue(self.transport.disconnecting)

    def test_too_many_headers_are_431(self) -> None:
        self.receive(b"GET / HTTP/1.1\r\n" + b"X-Y: zzzzzzzzzz\r\n" * 20000)
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 431 "))

    def test_garbage_behind_a_request_under_way(self) -> None:
        self.receive(GET % 1)
        receiver = Receiver()
        self.requests[0].receive(receiver)
        self.receive(b"\x00garbage\r\n\r\n")
        self.assertTrue(receiver.lost)
        self.assertTrue(self.transport.aborted)

    def test_failing_handler_is_500_and_the_next_request_works(self) -> None:
        def fail(_request: Request) -> None:
            raise ZeroDivisionError

        self.factory._handler = fail
        connection = self.factory.buildProtocol(None)
        connection.makeConnection(self.transport)
        connection.dataReceived(GET % 1)
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 500 "))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_switching_protocols_gives_what_came_early(self) -> None:
        self.receive(b"GET /exec HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
        self.receive(b"later")
        rest = self.requests[0].hijack(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.assertEqual(rest, b"earlylater")
        self.assertEqual(self.sent(), b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    def test_what_comes_early_waits_in_the_socket(self) -> None:
        self.receive(b"GET /exec HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        self.assertFalse(self.transport.paused, "a client that leaves is noticed")
        self.receive(b"early")
        self.requests[0].resumeProducing()
        self.assertTrue(self.transport.paused)

    def test_a_body_that_nothing_takes_is_bounded(self) -> None:
        self.receive(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        self.receive(b"x" * MAX_PENDING)
        self.assertFalse(self.transport.paused)
        self.receive(b"x")
        self.assertTrue(self.transport.paused)
        receiver = Receiver()
        self.requests[0].receive(receiver)
        self.assertFalse(self.transport.paused)
        self.assertEqual(sum(map(len, receiver.chunks)), MAX_PENDING + 1)

    def test_the_rest_of_a_body_that_nothing_took_is_discarded(self) -> None:
        self.receive(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 900_000)
        self.assertTrue(self.transport.paused)
        self.requests[0].respond(503, [])
        self.assertFalse(self.transport.paused)
        self.receive(b"x" * 100_000 + GET % 2)
        self.assertEqual([each.head.target for each in self.requests], [b"/", b"/2"])

    def test_a_receiver_that_pauses_stays_paused(self) -> None:
        class Slow(Receiver):
            def body(self, data: bytes) -> None:
                request.pauseProducing()

        self.receive(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 900_000)
        request = self.requests[0]
        request.receive(Slow())
        self.assertTrue(self.transport.paused)

    def test_switch_that_is_refused_ends_the_connection(self) -> None:
        self.receive(b"GET /exec HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        self.requests[0].respond(403, [])
        self.assertTrue(self.transport.disconnecting)

    def test_slow_client_pauses_the_source(self) -> None:
        self.receive(GET % 1)
        request = self.requests[0]
        request.start(200, b"OK", [], False)
        source: Any = object()
        request.throttle(source)
        request.throttle(source)
        self.assertIs(self.transport.producer, source)
        request.finish()
        self.assertIsNone(self.transport.producer)
        self.receive(b"GET /exec HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        switching = self.requests[1]
        switching.throttle(source)
        switching.hijack(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.assertIsNone(self.transport.producer, "the other protocol has its own")

    def test_connections_that_ask_for_nothing_end(self) -> None:
        self.receive(GET % 1)
        self.requests[0].respond(200, [])
        self.factory.check_idle(IdleLimits(1, 2))
        self.factory.check_idle(IdleLimits(1, 2))
        self.assertFalse(self.transport.disconnecting)
        self.factory.check_idle(IdleLimits(1, 2))
        self.assertTrue(self.transport.disconnecting)

    def test_who_connects_and_says_nothing_has_less_time(self) -> None:
        self.factory.check_idle(IdleLimits(1, 2))
        self.assertFalse(self.transport.disconnecting)
        self.factory.check_idle(IdleLimits(1, 2))
        self.assertTrue(self.transport.disconnecting)

    def test_a_head_that_comes_byte_by_byte_has_no_more_time(self) -> None:
        for late in (False, True):
            if late:
                self.setUp()
                self.receive(GET % 1)
                self.requests[0].respond(200, [])
                for _ in range(2):
                    self.factory.check_idle(IdleLimits(1, 2))
            for byte in b"GE":
                self.receive(bytes([byte]))
                self.assertFalse(self.transport.disconnecting)
                self.factory.check_idle(IdleLimits(1, 2))
            self.assertTrue(self.transport.disconnecting)

    def test_a_body_that_stands_still_is_silence(self) -> None:
        self.receive(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
        for byte in b"abc":
            self.receive(bytes([byte]))
            self.factory.check_idle(IdleLimits(1, 2))
        self.factory.check_idle(IdleLimits(1, 2))
        self.assertFalse(self.transport.aborted)
        self.factory.check_idle(IdleLimits(1, 2))
        self.assertTrue(self.transport.aborted)

    def test_a_body_that_is_not_read_may_stand_still(self) -> None:
        self.receive(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
        self.requests[0].pauseProducing()
        for _ in range(10):
            self.factory.check_idle(IdleLimits(1, 2))
        self.assertFalse(self.transport.aborted)

    def test_an_answer_that_is_not_taken_is_silence(self) -> None:
        unsent = iter([9, 8, 0, 0, 7, 7, 7])
        self.transport.unsent = lambda: next(unsent)
        self.receive(GET % 1)
        for _ in range(6):
            self.factory.check_idle(IdleLimits(1, 2))
            self.assertFalse(self.transport.aborted)
        self.factory.check_idle(IdleLimits(1, 2))
        self.assertTrue(self.transport.aborted)

    def test_a_request_under_way_may_take_its_time(self) -> None:
        self.receive(GET % 1)
        for _ in range(10):
            self.factory.check_idle(IdleLimits(1, 2))
        self.assertFalse(self.transport.disconnecting)
        self.requests[0].respond(200, [])
        for _ in range(2):
            self.factory.check_idle(IdleLimits(1, 2))
        self.assertTrue(self.transport.disconnecting)

    def test_a_request_that_is_answered_and_does_not_end_is_silent(self) -> None:
        self.receive(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
        self.requests[0].respond(405, [])
        for byte in b"def":
            self.assertFalse(self.transport.disconnecting)
            self.factory.check_idle(IdleLimits(1, 2))
            self.receive(bytes([byte]))
        self.assertTrue(self.transport.disconnecting)

    def test_who_sends_the_rest_in_time_may_ask_again(self) -> None:
        self.receive(b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
        self.requests[0].respond(405, [])
        self.factory.check_idle(IdleLimits(1, 2))
        self.receive(b"def")
        self.factory.check_idle(IdleLimits(1, 2))
        self.receive(GET % 2)
        self.requests[1].respond(200, [])
        for _ in range(2):
            self.factory.check_idle(IdleLimits(1, 2))
            self.assertFalse(self.transport.disconnecting)

    def test_how_long_that_is(self) -> None:
        for idle, head in ((180.0, 25.0), (75.0, 25.0), (600.0, 25.0), (10.0, 12.0)):
            self.setUp()
            clock = Clock()
            watch = idle_client_check(clock, self.factory, idle)
            watch.start()
            clock.pump([0.5] * int(2 * head - 1))
            self.assertFalse(self.transport.disconnecting, idle)
            clock.advance(0.5)
            self.assertTrue(self.transport.disconnecting, idle)
            self.setUp()
            watch.stop()
            watch = idle_client_check(clock, self.factory, idle)
            watch.start()
            self.receive(GET % 1)
            self.requests[-1].respond(200, [])
            clock.pump([0.5] * int(2 * idle))
            self.assertFalse(self.transport.disconnecting, idle)
            clock.pump([0.5] * 10)
            self.assertTrue(self.transport.disconnecting, idle)
            watch.stop()

    def test_close_idle_lets_responses_finish(self) -> None:
        self.receive(GET % 1)
        self.factory.close_idle()
        self.assertFalse(self.transport.disconnecting)
        self.requests[0].respond(200, [])
        self.assertIn(b"Connection: close\r\n", self.sent())
        self.assertTrue(self.transport.disconnecting)

    def test_what_is_sent_can_be_read(self) -> None:
        self.receive(GET % 1)
        request = self.requests[0]
        request.start(200, b"OK", [], False)
        request.write([b"x" * 100000])
        request.write([])
        request.write([b"y"])
        request.finish()
        events = ResponseReader().feed(self.sent())
        self.assertIsInstance(events[0], ResponseHead)
        self.assertEqual(
            b"".join(event for event in events if isinstance(event, bytes)), b"x" * 100000 + b"y"
        )
