"""The session against the library `h2` as the server."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from superedge.web import h2frames as frames
from superedge.web import h2session
from superedge.web.h1 import End
from superedge.web.h2session import Failed, H2Session
from superedge.web.h2stream import STREAM_WINDOW, H2Stream
from superedge.web.heads import ResponseHead
from tests.web.h2case import HEADERS, OK, SessionTestCase


class ExchangeTests(SessionTestCase):
    def test_a_request_and_its_response(self) -> None:
        stream = self.open()
        self.exchange()
        (request,) = [event for event in self.seen if type(event) is RequestReceived]
        self.assertEqual(
            [(bytes(name), bytes(value)) for name, value in request.headers],
            [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", b"cloud:6443"),
                (b":path", b"/api/v1/pods"),
                (b"accept", b"application/json"),
                (b"authorization", b"Bearer a"),
            ],
        )
        self.assertTrue([event for event in self.seen if type(event) is StreamEnded])
        self.answer(stream, [*OK, (b"content-length", b"4")])
        self.server.send_data(stream.id, b"bo")
        self.server.send_data(stream.id, b"dy", end_stream=True, pad_length=7)
        self.exchange()
        head, end = self.events()
        self.assertEqual((head.status, head.reason, head.bounded), (200, b"OK", True))
        self.assertEqual(head.headers[0], (b"content-type", b"application/json"))
        self.assertEqual((self.body(), end), (b"body", End([])))
        self.assertEqual(self.session.streams, {})

    def test_informational_trailers_and_streaming(self) -> None:
        stream = self.open()
        self.exchange()
        self.answer(stream, [(b":status", b"103"), (b"link", b"x")])
        self.answer(stream)
        self.server.send_data(stream.id, b"first")
        self.exchange()
        self.assertEqual([event.status for event in self.events()], [103, 200])
        self.assertEqual(self.body(), b"first")
        self.server.send_headers(stream.id, [(b"x-sum", b"1")], end_stream=True)
        self.exchange()
        self.assertEqual(self.events()[-1], End([(b"x-sum", b"1")]))

    def test_head_has_a_length_and_no_body(self) -> None:
        stream = self.open(method=b"HEAD")
        self.exchange()
        self.answer(stream, [*OK, (b"content-length", b"1000")], end=True)
        self.exchange()
        self.assertEqual([type(event) for event in self.events()], [ResponseHead, End])

    def test_a_body_goes_as_credit_comes(self) -> None:
        self.server.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10_000})
        self.exchange()
        stream = self.open(method=b"POST", body=True)
        for _ in range(3):
            self.session.send(stream, b"x" * 9_000)
        self.session.end(stream, [(b"X-Sum", b"1")])
        self.exchange()

        def received() -> int:
            return sum(len(event.data) for event in self.seen if type(event) is DataReceived)

        self.assertEqual((received(), stream.queued), (10_000, 17_000))
        self.server.increment_flow_control_window(50_000, stream.id)
        self.exchange()
        self.assertEqual((received(), stream.queued), (27_000, 0))
        self.assertTrue([event for event in self.seen if type(event) is StreamEnded])

    def test_bodies_take_turns(self) -> None:
        streams = [self.open(number, b"POST", True) for number in range(2)]
        for stream in streams:
            self.session.send(stream, b"x" * 60_000)
        self.exchange()
        order = [event.stream_id for event in self.seen if type(event) is DataReceived]
        self.assertEqual(order[:4], [1, 3, 1, 3])

    def test_bodies_wait_when_told_to(self) -> None:
        stream = self.open(method=b"POST", body=True)
        self.session.send(stream, b"x" * 1000)
        self.assertNotIn(b"xxx", self.session.data_to_send(bodies=False))
        self.assertIn(b"xxx", self.session.data_to_send())

    def test_answered_before_the_request_is_sent(self) -> None:
        stream = self.open(method=b"POST", body=True)
        self.exchange()
        self.answer(stream, end=True)
        self.exchange()
        self.assertEqual(type(self.events()[-1]), End)
        self.assertIn(stream.id, self.session.streams)
        self.session.end(stream, [])
        self.exchange()
        self.assertEqual(self.session.streams, {})

    def test_large_headers_both_ways(self) -> None:
        large = [(b"x-%d" % number, b"v" * 1000) for number in range(60)]
        stream = self.session.open(b"GET", b"/", [*HEADERS, *large], False, "a", self.now)
        self.exchange()
        (request,) = [event for event in self.seen if type(event) is RequestReceived]
        self.assertEqual(len(request.headers), 66)
        self.answer(stream, [*OK, *large], end=True)
        self.exchange()
        self.assertEqual(len(self.events()[0].headers), 61)

    def test_reset_by_either_end(self) -> None:
        first, second = self.open("a"), self.open("b")
        self.exchange()
        self.session.reset(first)
        self.server.reset_stream(second.id, ErrorCodes.INTERNAL_ERROR)
        self.exchange()
        self.assertEqual([e.error_code for e in self.seen if type(e) is StreamReset], [ErrorCodes.CANCEL])
        self.assertEqual(self.events("a"), [])
        self.assertEqual(
            self.failure("b"), Failed("the server reset the stream: INTERNAL_ERROR", unprocessed=False)
        )
        self.assertEqual((self.session.streams, self.session.error), ({}, ""))

    def test_refused_is_unprocessed(self) -> None:
        stream = self.open()
        self.exchange()
        self.server.reset_stream(stream.id, ErrorCodes.REFUSED_STREAM)
        self.exchange()
        self.assertTrue(self.failure().unprocessed)

    def test_what_comes_late_for_a_stream_given_up(self) -> None:
        stream = self.open()
        self.exchange()
        self.answer(stream)
        self.server.send_data(stream.id, b"x")
        late = self.server.data_to_send()
        self.session.reset(stream)
        self.feed(late)
        self.assertEqual((self.told, self.session.error), ([], ""))
        self.assertTrue(self.session.room)

    def test_no_more_streams_than_the_server_allows(self) -> None:
        self.assertEqual(H2Session(0.0).room, 0)
        self.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 3})
        self.exchange()
        streams = [self.open(number) for number in range(3)]
        self.assertEqual(self.session.room, 0)
        self.session.reset(streams[0])
        self.assertEqual(self.session.room, 1)
        self.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 0})
        self.exchange()
        self.assertLess(self.session.room, 0)

    def test_a_ping_is_answered(self) -> None:
        self.server.ping(b"12345678")
        self.exchange()
        self.assertEqual(self.session.error, "")


class ByteByByteTests(ExchangeTests):
    step = 1


class CreditTests(SessionTestCase):
    def begin(self, owner: object) -> H2Stream:
        stream = self.open(owner)
        self.exchange()
        self.answer(stream)
        return stream

    def pour(self, stream: H2Stream, most: int) -> int:
        """Send as much as there is credit for."""
        sent = 0
        while sent < most:
            size = min(self.server.local_flow_control_window(stream.id), 16_384, most - sent)
            if not size:
                break
            self.server.send_data(stream.id, b"x" * size)
            sent += size
            self.exchange()
        return sent

    def test_a_stalled_client_holds_back_its_own_stream_alone(self) -> None:
        stalled, other = self.begin("a"), self.begin("b")
        self.session.pause(stalled)
        self.assertEqual(self.pour(stalled, 10_000_000), STREAM_WINDOW)
        self.assertEqual(self.pour(other, 10_000_000), 10_000_000)
        self.assertEqual(len(self.body("b")), 10_000_000)
        self.session.resume(stalled)
        self.exchange()
        self.assertEqual(self.pour(stalled, 1_000_000), 1_000_000)

    def test_the_connections_credit_comes_back(self) -> None:
        self.patch(h2session, "CONNECTION_WINDOW", 1_000_000)
        self.setUp()
        self.assertEqual(self.pour(self.begin("a"), 3_000_000), 3_000_000)

    def test_many_stalled_clients_leave_the_connection_open(self) -> None:
        for number in range(99):
            stream = self.begin(number)
            self.session.pause(stream)
            self.pour(stream, 10_000_000)
        self.assertEqual(self.pour(self.begin("b"), 2_000_000), 2_000_000)

    def test_a_server_that_sends_more_than_it_may(self) -> None:
        stream = self.begin("a")
        self.exchange()
        self.session.pause(stream)
        for _ in range(STREAM_WINDOW // 16_384 + 1):
            self.feed(frames.frame(frames.DATA, 0, stream.id, bytes(16_384)))
        self.assertIn("more data than the window allows", self.failure().reason)
        self.assertEqual(self.session.error, "")


class GoAwayTests(SessionTestCase):
    def goaway(self, last: int, code: frames.Code = frames.Code.NO_ERROR) -> None:
        self.feed(frames.goaway(last, code, b"restarting"))

    def test_with_nothing_under_way(self) -> None:
        self.goaway(0)
        self.assertEqual((self.session.room, self.told), (0, []))

    def test_streams_above_the_last_were_not_looked_at(self) -> None:
        self.open("a")
        self.open("b")
        self.exchange()
        self.goaway(1)
        self.assertEqual(self.events("a"), [])
        self.assertTrue(self.failure("b").unprocessed)
        self.assertIn("NO_ERROR restarting", self.failure("b").reason)

    def test_the_others_finish(self) -> None:
        stream = self.open()
        self.exchange()
        self.answer(stream)
        self.exchange()
        self.goaway(frames.LARGEST_STREAM)
        self.goaway(1)
        self.server.send_data(stream.id, b"body", end_stream=True)
        self.exchange()
        self.assertEqual((self.body(), type(self.events()[-1])), (b"body", End))
        self.assertEqual((self.session.error, self.session.streams), ("", {}))

    def test_in_the_middle_of_a_body_to_send(self) -> None:
        stream = self.open(method=b"POST", body=True)
        self.session.send(stream, b"x" * 200_000)
        self.exchange()
        self.goaway(0)
        self.assertTrue(self.failure().unprocessed)
        self.assertEqual((self.session.data_to_send(), stream.queued), (b"", 0))

    def test_it_cannot_be_taken_back(self) -> None:
        self.goaway(1)
        self.goaway(5)
        self.assertIn("a higher stream than an earlier one", self.session.error)


class SharedTests(SessionTestCase):
    def test_no_more_streams_than_a_burst_has_buffers_for(self) -> None:
        self.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1000})
        self.exchange()
        self.assertEqual(self.session.room, h2session.MAX_STREAMS)
