"""Messages: cut anywhere, and whatever a peer may send instead."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.tunnel.messages import (
    MAX_MESSAGE,
    DialAnswer,
    DialRequest,
    Hello,
    MessageError,
    MessageReader,
    Notice,
    decode,
    encode,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
REQUESTS = st.builds(DialRequest, kind=TEXT, address=TEXT, timeout=st.floats(0, 1e6))
ANSWERS = st.builds(DialAnswer, ok=st.booleans(), code=st.none() | TEXT, message=st.none() | TEXT)
HELLOS = st.builds(Hello, version=TEXT, boot_id=TEXT, addresses=st.lists(TEXT), capabilities=st.lists(TEXT))
NOTICES = st.builds(Notice, notice=TEXT, message=TEXT)


class MessageTests(SynchronousTestCase):
    def read(self, chunks: list[bytes]) -> tuple[bytes, bytes] | None:
        """The first message of the chunks, and everything that came after it."""
        reader: MessageReader[Any] = MessageReader()
        for number, chunk in enumerate(chunks):
            found = reader.feed(chunk)
            if found is not None:
                return found[0], found[1] + b"".join(chunks[number + 1 :])
        return None

    def test_on_the_wire(self) -> None:
        request = DialRequest(kind="tcp", address="127.0.0.1:10250", timeout=5.0)
        self.assertEqual(encode(request), b'\x00\x38{"kind":"tcp","address":"127.0.0.1:10250","timeout":5.0}')
        self.assertEqual(encode(DialAnswer(ok=True)), b'\x00\x0b{"ok":true}')
        self.assertEqual(
            encode(DialAnswer(ok=False, code="denied", message="no")),
            b'\x00\x2b{"ok":false,"code":"denied","message":"no"}',
        )

    @given(st.one_of(REQUESTS, ANSWERS, HELLOS, NOTICES))
    def test_round_trip(self, message: msgspec.Struct) -> None:
        found = self.read([encode(message)])
        assert found is not None
        self.assertEqual((decode(type(message), found[0]), found[1]), (message, b""))

    def test_byte_by_byte(self) -> None:
        wire = encode(DialAnswer(ok=True)) + b"payload"
        found = self.read([wire[at : at + 1] for at in range(len(wire))])
        self.assertEqual(found, (b'{"ok":true}', b"payload"))

    @given(REQUESTS, st.binary(max_size=40), st.lists(st.integers(0, 300), max_size=5))
    def test_cut_anywhere(self, message: DialRequest, payload: bytes, cuts: list[int]) -> None:
        wire = encode(message) + payload
        edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
        found = self.read([wire[begin:end] for begin, end in zip(edges, edges[1:], strict=False)])
        assert found is not None
        self.assertEqual((decode(DialRequest, found[0]), found[1]), (message, payload))

    def test_one_after_another(self) -> None:
        reader: MessageReader[Notice] = MessageReader()
        data = encode(Notice("drain", "a")) + encode(Notice("drain", "b"))
        heard = []
        while (found := reader.feed(data)) is not None:
            body, data = found
            heard.append(decode(Notice, body).message)
        self.assertEqual(heard, ["a", "b"])

    def test_unknown_keys_are_ignored(self) -> None:
        self.assertEqual(decode(DialAnswer, b'{"ok":true,"new":[1,{}]}'), DialAnswer(ok=True))

    def test_lengths_that_no_message_has(self) -> None:
        for wire in (b"\x00\x00", (MAX_MESSAGE + 1).to_bytes(2, "big"), b"\xff\xff"):
            self.assertRaises(MessageError, MessageReader().feed, wire)
        longest = MAX_MESSAGE.to_bytes(2, "big") + b" " * MAX_MESSAGE
        self.assertEqual(MessageReader().feed(longest), (b" " * MAX_MESSAGE, b""))

    def test_too_long_to_be_sent(self) -> None:
        longest = Notice("drain", "x" * (MAX_MESSAGE - len(encode(Notice("drain"))) + 2))
        self.assertEqual(len(encode(longest)), 2 + MAX_MESSAGE)
        self.assertRaises(MessageError, encode, Notice("drain", longest.message + "x"))

    def test_bodies_that_are_no_message(self) -> None:
        for body in (
            b"",
            b"{",
            b"[]",
            b"null",
            b'{"ok":"yes"}',
            b'{"ok":true,"message":"\xff"}',
            b'{"ok":true,"message":"\\ud800"}',
        ):
            problem = self.assertRaises(MessageError, decode, DialAnswer, body)
            self.assertIn("not a DialAnswer", str(problem))

    def test_a_body_of_many_levels(self) -> None:
        """How many Python's C stack takes depends on its version: read or refused, as any body."""
        with contextlib.suppress(MessageError):
            decode(DialAnswer, b'{"ok":true,"x":' + b"[" * 8000 + b"]" * 8000 + b"}")

    @given(st.binary(max_size=200))
    def test_any_body_is_read_or_refused(self, body: bytes) -> None:
        for kind in (DialRequest, DialAnswer, Hello, Notice):
            with contextlib.suppress(MessageError):
                decode(kind, body)

    def test_a_control_prologue_is_not_taken_for_another_kind(self) -> None:
        self.assertRaises(MessageError, decode, Hello, b'{"kind":"tcp","version":"1"}')
