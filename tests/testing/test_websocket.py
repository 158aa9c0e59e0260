from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    Message,
    Reader,
    WebSocketError,
    accept_key,
    close_payload,
    encode,
)

MASK = b"\x37\xfa\x21\x3d"


def fragment(opcode: int, payload: bytes) -> bytes:
    """A masked frame that is not the last of its message."""
    whole = encode(opcode, payload, MASK)
    return bytes([whole[0] & 0x7F]) + whole[1:]


class ExamplesTests(SynchronousTestCase):
    """RFC 6455, sections 1.3 and 5.7."""

    def test_accept_key(self) -> None:
        self.assertEqual(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")

    def test_unmasked(self) -> None:
        self.assertEqual(encode(TEXT, b"Hello"), bytes.fromhex("810548656c6c6f"))

    def test_masked(self) -> None:
        self.assertEqual(encode(TEXT, b"Hello", MASK), bytes.fromhex("818537fa213d7f9f4d5158"))

    def test_lengths_of_two_and_eight_bytes(self) -> None:
        self.assertEqual(encode(BINARY, bytes(256))[:4], bytes.fromhex("827e0100"))
        self.assertEqual(encode(BINARY, bytes(65536))[:10], bytes.fromhex("827f0000000000010000"))


class ReaderTests(SynchronousTestCase):
    def test_byte_by_byte(self) -> None:
        wire = b"".join(
            [
                fragment(TEXT, b"one "),
                encode(PING, b"in between", MASK),
                fragment(CONTINUATION, b"message"),
                encode(CONTINUATION, b"", MASK),
                encode(BINARY, bytes(range(256)), MASK),
                encode(CLOSE, close_payload(1000, "done"), MASK),
            ]
        )
        reader = Reader(masked=True)
        found = [message for byte in wire for message in reader.feed(bytes([byte]))]
        self.assertEqual(
            found,
            [
                Message(PING, b"in between"),
                Message(TEXT, b"one message"),
                Message(BINARY, bytes(range(256))),
                Message(CLOSE, b"\x03\xe8done"),
            ],
        )

    @settings(max_examples=60)
    @given(
        st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), st.binary(max_size=300)), max_size=6),
        st.binary(min_size=4, max_size=4),
        st.integers(1, 64),
    )
    def test_any_cut(self, messages: list[tuple[int, bytes]], mask: bytes, step: int) -> None:
        for key in (mask, None):
            wire = b"".join(encode(opcode, payload, key) for opcode, payload in messages)
            reader = Reader(masked=key is not None)
            found: list[Message] = []
            for at in range(0, len(wire), step):
                found += reader.feed(wire[at : at + step])
            self.assertEqual(found, messages)

    def refused(self, wire: bytes, code: int, limit: int = 1024) -> None:
        problem = self.assertRaises(WebSocketError, Reader(masked=True, limit=limit).feed, wire)
        self.assertEqual(problem.code, code)

    def test_broken_frames(self) -> None:
        self.refused(encode(TEXT, b"not masked"), PROTOCOL_ERROR)
        self.refused(b"\xc1" + encode(TEXT, b"x", MASK)[1:], PROTOCOL_ERROR)
        self.refused(fragment(PING, b""), PROTOCOL_ERROR)
        self.refused(b"\x89\xfe\x00\x80", PROTOCOL_ERROR)
        self.refused(encode(CONTINUATION, b"of nothing", MASK), PROTOCOL_ERROR)
        self.refused(fragment(TEXT, b"a") + encode(TEXT, b"b", MASK), PROTOCOL_ERROR)
        self.refused(encode(3, b"", MASK), PROTOCOL_ERROR)

    def test_too_big_is_refused_by_its_length_alone(self) -> None:
        self.refused(encode(BINARY, bytes(1025), MASK)[:4], TOO_BIG)
        self.refused(fragment(BINARY, bytes(1000)) + encode(CONTINUATION, bytes(25), MASK), TOO_BIG)
