"""The session against servers that break the rules."""

from __future__ import annotations

from typing import Any

from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.web import h2frames as frames
from superedge.web import h2headers
from superedge.web.h1 import End
from superedge.web.h2session import Failed, H2Session
from superedge.web.heads import ResponseHead
from tests.web.h2case import HEADERS


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
