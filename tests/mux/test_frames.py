"""Frames survive any cut of the byte stream; anything outside the format is refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.mux.errors import ProtocolError
from superedge.mux.frames import ALL_FLAGS, DATA, GO_AWAY, HEADER, PING, FrameReader, header

Event = tuple[object, ...]


def read(chunks: list[bytes], maximum: int = 1 << 20) -> list[Event]:
    """Events of a reader fed chunk by chunk, pieces of one payload joined."""
    events: list[Event] = []
    pieces: list[bytes | memoryview] = []

    def frame(*values: int) -> bool:
        events.append(values)
        return True

    def payload(piece: bytes | memoryview, last: bool) -> None:
        assert piece
        pieces.append(piece)
        if last:
            events.append((b"".join(pieces),))
            pieces.clear()

    reader = FrameReader(frame, payload, maximum)
    for chunk in chunks:
        reader.feed(chunk)
    return events


frames = st.one_of(
    st.tuples(st.just(DATA), st.integers(0, ALL_FLAGS), st.integers(1, 2**32 - 1), st.binary(max_size=80)),
    st.tuples(st.just(1), st.integers(0, ALL_FLAGS), st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.tuples(
        st.sampled_from([PING, GO_AWAY]), st.integers(0, ALL_FLAGS), st.just(0), st.integers(0, 2**32 - 1)
    ),
)


class FrameTests(SynchronousTestCase):
    @given(st.lists(frames, max_size=12), st.data())
    def test_any_cut_gives_the_same_frames(
        self, wanted: list[tuple[int, int, int, bytes | int]], data: st.DataObject
    ) -> None:
        wire, expected = b"", []
        for kind, flags, stream, body in wanted:
            if isinstance(body, bytes):
                wire += header(kind, flags, stream, len(body)) + body
                expected.append((kind, flags, stream, len(body)))
                if body:
                    expected.append((body,))  # type: ignore[arg-type]
            else:
                wire += header(kind, flags, stream, body)
                expected.append((kind, flags, stream, body))
        self.assertEqual(read([wire]), expected)
        self.assertEqual(read([wire[i : i + 1] for i in range(len(wire))]), expected)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
        parts = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
        self.assertEqual(read(parts), expected)

    def test_the_format_on_the_wire(self) -> None:
        self.assertEqual(header(DATA, 1, 3, 5).hex(), "000000010000000300000005")
        longest = (DATA, 0, 1, 1 << 20)
        self.assertEqual(read([header(*longest)], maximum=1 << 20), [longest])

    def test_refused(self) -> None:
        for wire in (
            HEADER.pack(1, 0, 0, 1, 0),
            HEADER.pack(0, 4, 0, 1, 0),
            HEADER.pack(0, 4, 0, 0, 0),
            HEADER.pack(0, 0, 16, 1, 0),
            HEADER.pack(0, 0, 0, 0, 0),
            HEADER.pack(0, PING, 0, 1, 0),
            HEADER.pack(0, DATA, 0, 1, (1 << 20) + 1),
            b"GET / HTTP/1.1\r\n",
        ):
            self.assertRaises(ProtocolError, read, [wire])

    @given(st.binary(max_size=200))
    def test_garbage_is_frames_or_a_protocol_error(self, garbage: bytes) -> None:
        try:
            read([garbage])
        except ProtocolError:
            pass
        else:
            self.assertTrue(len(garbage) < 12 or garbage[0] == 0)
