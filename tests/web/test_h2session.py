"""The session against the library `h2` as the server, and against servers that break the rules."""

from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, PingReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.web import h2frames as frames
from superedge.web import h2headers, h2keepalive, h2session
from superedge.web.h1 import End
from superedge.web.h2session import Failed, H2Session
from superedge.web.h2stream import STREAM_WINDOW, H2Stream
from superedge.web.heads import Headers, ResponseHead

HEADERS: Headers = [
    (b"Host", b"cloud:6443"),
    (b"Accept", b"application/json"),
    (b"Authorization", b"Bearer a"),
]
OK = [(b":status", b"200"), (b"content-type", b"application/json")]


class SessionTestCase(SynchronousTestCase):
    """A session and a server; ``step`` bytes at a time go from the one to the other."""

    step = 1 << 30

    def setUp(self) -> None:
        self.now = 100.0
        self.session = H2Session(self.now)
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.server.initiate_connection()
        self.seen: list[Any] = []
        self.told: list[tuple[object, Any]] = []
        self.exchange()

    def exchange(self) -> None:
        """Until neither has anything to say."""
        while (there := self.session.data_to_send()) + (back := self.server.data_to_send()):
            for at in range(0, len(there), self.step):
                self.seen += self.server.receive_data(there[at : at + self.step])
            self.feed(back)

    def feed(self, data: bytes) -> None:
        for at in range(0, len(data), self.step):
            for stream, event in self.session.receive(data[at : at + self.step], self.now):
                self.told.append((stream.owner, event))

    def open(self, owner: object = "a", method: bytes = b"GET", body: bool = False) -> H2Stream:
        return self.session.open(method, b"/api/v1/pods", HEADERS, body, owner, self.now)

    def answer(self, stream: H2Stream, headers: list[tuple[bytes, bytes]] = OK, end: bool = False) -> None:
        self.server.send_headers(stream.id, headers, end_stream=end)

    def body(self, owner: object = "a") -> bytes:
        return b"".join(b"".join(event) for told, event in self.told if told == owner and type(event) is list)

    def events(self, owner: object = "a") -> list[Any]:
        """Without the body."""
        return [event for told, event in self.told if told == owner and type(event) is not list]

    def failure(self, owner: object = "a") -> Failed:
        (failed,) = [event for event in self.events(owner) if type(event) is Failed]
        return failed


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


class KeepaliveTests(SessionTestCase):
    def pings(self) -> int:
        self.exchange()
        return len([event for event in self.seen if type(event) is PingReceived])

    def test_silence_with_streams_is_asked_about(self) -> None:
        self.open()
        self.exchange()
        self.now += h2keepalive.PING_AFTER
        self.session.tick(self.now)
        self.assertEqual(self.pings(), 1)
        self.now += h2keepalive.PING_TIMEOUT
        self.session.tick(self.now)
        self.assertEqual(self.session.error, "")

    def test_no_answer(self) -> None:
        self.open()
        self.exchange()
        self.now += h2keepalive.PING_AFTER
        self.session.tick(self.now)
        self.now += h2keepalive.PING_TIMEOUT - 0.1
        self.session.tick(self.now)
        self.assertEqual(self.session.error, "")
        self.now += 0.1
        self.session.tick(self.now)
        self.assertIn("no answer to a PING", self.session.error)

    def test_any_byte_is_a_sign_of_life(self) -> None:
        stream = self.open()
        self.exchange()
        self.answer(stream)
        self.now += h2keepalive.PING_AFTER
        self.session.tick(self.now)
        self.session.data_to_send()
        for _ in range(5):
            self.now += h2keepalive.PING_TIMEOUT - 1
            self.server.send_data(stream.id, b"x")
            self.feed(self.server.data_to_send())
            self.session.tick(self.now)
        self.assertEqual(self.session.error, "")

    def test_nothing_is_asked_without_streams(self) -> None:
        self.now += 1000
        self.session.tick(self.now)
        self.assertEqual(self.session.data_to_send(), b"")

    def test_a_stream_on_a_connection_that_was_silent_for_long_asks_at_once(self) -> None:
        self.now += 1000
        self.open()
        self.assertEqual(self.pings(), 1)


class HostileTests(SynchronousTestCase):
    """Bytes that no server should send."""

    def setUp(self) -> None:
        self.session = H2Session(0.0)
        self.told: list[Any] = []
        self.feed(frames.settings({}))
        self.stream = self.session.open(b"GET", b"/", HEADERS, False, "a", 0.0)
        self.session.data_to_send()

    def feed(self, data: bytes) -> None:
        self.told += [event for _, event in self.session.receive(data, 0.0)]

    def headers(self, *pairs: tuple[bytes, bytes], end: bool = False) -> bytes:
        return frames.header_block(1, Encoder().encode(list(pairs)), end, frames.FRAME_SIZE)

    def broken(self, data: bytes, code: frames.Code, reason: str) -> None:
        """The connection ends and says why."""
        self.setUp()
        self.feed(data)
        self.assertIn(reason, self.session.error)
        self.assertTrue(self.session.data_to_send().endswith(frames.goaway(0, code)))
        self.assertEqual(self.session.room, 0)
        self.assertEqual(self.session.receive(frames.settings({}), 0.0), [])

    def failed(self, data: bytes, code: frames.Code, reason: str) -> None:
        """The stream ends; the connection goes on."""
        self.setUp()
        self.feed(data)
        self.assertEqual(type(self.told[-1]), Failed)
        self.assertIn(reason, self.told[-1].reason)
        self.assertFalse(self.told[-1].unprocessed)
        self.assertEqual(self.session.error, "")
        self.assertTrue(self.session.data_to_send().endswith(frames.rst_stream(1, code)))
        self.assertEqual(self.session.streams, {})

    def test_other_protocols(self) -> None:
        for garbage in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2p1\r\n", bytes(64)):
            session = H2Session(0.0)
            session.receive(garbage, 0.0)
            self.assertTrue(session.error, garbage)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        for first in (b"", frames.settings({})):
            session = H2Session(0.0)
            session.receive(first, 0.0)
            if first:
                session.open(b"GET", b"/", HEADERS, False, "a", 0.0)
            session.receive(data, 0.0)
            session.data_to_send()

    @given(
        st.lists(
            st.tuples(st.integers(0, 11), st.integers(0, 255), st.integers(0, 4), st.binary(max_size=20))
        )
    )
    @settings(max_examples=300)
    def test_any_frames(self, sent: list[tuple[int, int, int, bytes]]) -> None:
        session = H2Session(0.0)
        session.receive(frames.settings({}), 0.0)
        session.open(b"GET", b"/", HEADERS, False, "a", 0.0)
        session.open(b"POST", b"/", HEADERS, True, "b", 0.0)
        over: set[object] = set()
        for kind, flags, stream, payload in sent:
            for told, event in session.receive(frames.frame(kind, flags, stream, payload), 0.0):
                self.assertNotIn(told.owner, over)
                if type(event) in (End, Failed):
                    over.add(told.owner)
            session.data_to_send()

    def test_frames_that_are_wrong(self) -> None:
        code = frames.Code
        for data, expected, reason in (
            (frames.frame(frames.DATA, 0, 1, bytes(16_385)), code.FRAME_SIZE_ERROR, "16385 bytes"),
            (frames.frame(frames.DATA, 0, 3), code.PROTOCOL_ERROR, "was not opened"),
            (frames.frame(frames.DATA, 0, 2), code.PROTOCOL_ERROR, "was not opened"),
            (frames.frame(frames.DATA, frames.PADDED, 1, b"\x09abc"), code.PROTOCOL_ERROR, "padding"),
            (frames.frame(frames.HEADERS, 4, 0), code.PROTOCOL_ERROR, "on stream 0"),
            (frames.frame(frames.SETTINGS, 0, 1), code.PROTOCOL_ERROR, "on a stream"),
            (frames.frame(frames.SETTINGS, 0, 0, b"x"), code.FRAME_SIZE_ERROR, "SETTINGS"),
            (frames.frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), code.FRAME_SIZE_ERROR, "with a payload"),
            (frames.settings({frames.ENABLE_PUSH: 1}), code.PROTOCOL_ERROR, "enable push"),
            (frames.settings({frames.MAX_FRAME_SIZE: 100}), code.PROTOCOL_ERROR, "maximum frame size"),
            (frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}), code.FLOW_CONTROL_ERROR, "too large"),
            (frames.frame(frames.PING, 0, 0, b"short"), code.FRAME_SIZE_ERROR, "PING"),
            (frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), code.PROTOCOL_ERROR, "PUSH_PROMISE"),
            (frames.frame(frames.GOAWAY, 0, 0, b"x"), code.FRAME_SIZE_ERROR, "GOAWAY"),
            (frames.frame(frames.RST_STREAM, 0, 1, b"x"), code.FRAME_SIZE_ERROR, "RST_STREAM"),
            (frames.window_update(0, 0), code.FLOW_CONTROL_ERROR, "a window update of 0"),
            (frames.window_update(0, frames.LARGEST_WINDOW), code.FLOW_CONTROL_ERROR, "window update"),
            (frames.frame(frames.CONTINUATION, 4, 1), code.PROTOCOL_ERROR, "without a HEADERS frame"),
            (frames.frame(frames.HEADERS, 4, 1, b"\xff\xff\xff"), code.COMPRESSION_ERROR, "cannot be read"),
            (
                frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.DATA, 0, 1),
                code.PROTOCOL_ERROR,
                "interrupted",
            ),
            (
                frames.frame(frames.HEADERS, 0, 1) + frames.frame(11, 0, 1),
                code.PROTOCOL_ERROR,
                "interrupted",
            ),
        ):
            self.broken(data, expected, reason)

    def test_streams_that_are_wrong(self) -> None:
        code, ok = frames.Code.PROTOCOL_ERROR, (b":status", b"200")
        ten = self.headers(ok, (b"content-length", b"10"))
        for data, reason in (
            (self.headers((b"a", b"b")), "without a valid :status"),
            (self.headers((b":status", b"20")), "without a valid :status"),
            (self.headers((b":status", b"101")), "status 101"),
            (self.headers((b":status", b"100"), end=True), "with END_STREAM"),
            (self.headers(ok, (b":path", b"/")), "not allowed"),
            (self.headers(ok, (b"Upper", b"x")), "not allowed"),
            (self.headers(ok, (b"", b"x")), "not allowed"),
            (self.headers(ok, (b"transfer-encoding", b"chunked")), "not allowed"),
            (self.headers(ok, (b"a", b"b\r\nInjected: 1")), "line end"),
            (self.headers(ok, (b"content-length", b"-1")), "not one number"),
            (self.headers(ok, (b"content-length", b"1"), (b"content-length", b"2")), "not one number"),
            (frames.frame(frames.DATA, 0, 1, b"x"), "before or after the response"),
            (self.headers(ok) + self.headers((b"a", b"b")), "without END_STREAM"),
            (ten + frames.frame(frames.DATA, 0, 1, bytes(11)), "longer"),
            (ten + frames.frame(frames.DATA, frames.END_STREAM, 1, bytes(9)), "shorter"),
            (self.headers(ok, (b"content-length", b"10"), end=True), "shorter"),
        ):
            self.failed(data, code, reason)
        self.failed(frames.window_update(1, 0), frames.Code.FLOW_CONTROL_ERROR, "a window update of 0")

    def test_no_body_where_there_is_none(self) -> None:
        self.failed(
            self.headers((b":status", b"204")) + frames.frame(frames.DATA, 0, 1, b"x"),
            frames.Code.PROTOCOL_ERROR,
            "longer",
        )

    def test_headers_without_end(self) -> None:
        self.broken(
            frames.frame(frames.HEADERS, 0, 1, bytes(100))
            + frames.frame(frames.CONTINUATION, 0, 1) * h2headers.MAX_CONTINUATIONS,
            frames.Code.ENHANCE_YOUR_CALM,
            "is too long",
        )
        self.broken(
            frames.frame(frames.HEADERS, 0, 1, bytes(16_000))
            + frames.frame(frames.CONTINUATION, 0, 1, bytes(16_000)) * 9,
            frames.Code.ENHANCE_YOUR_CALM,
            "is too long",
        )

    def test_a_header_bomb(self) -> None:
        """A few bytes that stand for many: one large header, and the same again and again."""
        encoder = Encoder()
        bomb = encoder.encode([(b":status", b"200"), (b"a", b"x" * 4000)]) + bytes([0x80 | 62]) * 15_000
        self.broken(
            frames.header_block(1, bomb, False, frames.FRAME_SIZE),
            frames.Code.COMPRESSION_ERROR,
            "cannot be read",
        )

    def test_what_came_before_the_fault_is_told(self) -> None:
        self.feed(self.headers((b":status", b"200"), end=True) + frames.frame(frames.PING, 0, 0, b"x"))
        self.assertEqual([type(event) for event in self.told], [ResponseHead, End])
        self.assertTrue(self.session.error)


class SharedTests(SessionTestCase):
    def test_no_more_streams_than_a_burst_has_buffers_for(self) -> None:
        self.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1000})
        self.exchange()
        self.assertEqual(self.session.room, h2session.MAX_STREAMS)
