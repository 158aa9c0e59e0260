"""Two sessions under random use: every byte in order, no window exceeded, nothing left behind."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.mux.errors import ProtocolError, StreamRefused
from superedge.mux.flood import FLOOD_DECAY, FLOOD_LIMIT, UNEXPECTED_STREAM
from superedge.mux.frames import (
    ACK,
    DATA,
    FIN,
    FRAMES_AT_ONCE,
    GO_AWAY,
    HEADER_SIZE,
    NORMAL,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    header,
)
from superedge.mux.outgoing import MAX_SPARSE_RUN
from superedge.mux.session import SMALL_DATA, Session
from superedge.mux.settings import INITIAL_WINDOW, MuxSettings
from superedge.mux.state import Stream


class Reader:
    """A stream's owner that gives credit as told."""

    def __init__(self, session: Session, stream: Stream) -> None:
        self.session, self.stream = session, stream
        self.got = bytearray()
        self.pieces: list[bytes] = []
        self.unread = 0
        self.fin = False
        self.end = ""
        stream.events = self

    def data_received(self, data: bytes) -> None:
        assert not self.fin and not self.end
        self.got += data
        self.pieces.append(data)
        self.unread += len(data)
        assert self.unread <= self.stream.receive.size

    def read(self) -> None:
        count, self.unread = self.unread, 0
        self.session.consumed(self.stream, count)

    def fin_received(self) -> None:
        self.fin = True

    def was_reset(self, reason: str) -> None:
        self.end = reason

    def drained(self) -> None:
        pass

    def finished(self) -> None:
        self.end = "done"


def receive(session: Session, data: bytes, now: float) -> None:
    """Have a session take all of the bytes."""
    while data:
        data = session.receive(data, now)


class Link:
    def __init__(self, limits: MuxSettings | None = None) -> None:
        self.now = 0.0
        self.readers: list[Reader] = []
        limits = limits or MuxSettings()
        self.a = Session(True, limits, lambda stream: self.fail(), 0.0)
        self.b = Session(False, limits, self.accept, 0.0)

    def fail(self) -> None:
        raise AssertionError("the dialer was given a stream")

    def accept(self, stream: Stream) -> None:
        self.readers.append(Reader(self.b, stream))

    def carry(self, limit: int = 1 << 20) -> None:
        for source, target in ((self.a, self.b), (self.b, self.a)):
            receive(target, b"".join(source.pull(limit)), self.now)

    def settle(self) -> None:
        while self.a.has_output or self.b.has_output:
            self.carry()


class SessionTests(SynchronousTestCase):
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 3),
                st.sampled_from(["write", "write", "read", "carry", "fin", "big"]),
                st.integers(1, 9000),
            ),
            max_size=60,
        )
    )
    @settings(max_examples=60)
    def test_random_interleavings(self, actions: list[tuple[int, str, int]]) -> None:
        link = Link()
        streams = [link.a.open() for _ in range(4)]
        openers = [Reader(link.a, stream) for stream in streams]
        sent = [b""] * 4
        for index, action, size in actions:
            stream = streams[index]
            if action in ("write", "big") and not stream.fin_queued:
                data = bytes([index + size % 7]) * (size * (40 if action == "big" else 1))
                sent[index] += data
                link.a.send(stream, data)
            elif action == "fin":
                link.a.send_fin(stream)
            elif action == "read":
                for reader in link.readers[index : index + 1]:
                    reader.read()
            link.carry(size)
        for stream in streams:
            link.a.send_fin(stream)
        for _ in range(200):
            link.settle()
            for reader in link.readers:
                reader.read()
        self.assertEqual([reader.got for reader in link.readers], sent)
        self.assertTrue(all(reader.fin for reader in link.readers))
        for reader in link.readers:
            link.b.send_fin(reader.stream)
        link.settle()
        self.assertEqual((link.a.stream_count, link.b.stream_count), (0, 0))
        self.assertEqual({reader.end for reader in link.readers + openers}, {"done"})

    def test_streams_share_the_connection_in_turns(self) -> None:
        link = Link()
        for value in (b"a", b"b", b"c"):
            stream = link.a.open()
            Reader(link.a, stream)
            link.a.send(stream, value * 100_000)
        order = [bytes(chunk[:1]) for chunk in link.a.pull(1 << 20) if len(chunk) > 12]
        self.assertEqual(order[:6], [b"a", b"b", b"c", b"a", b"b", b"c"])

    def test_one_that_has_the_connection_alone_sends_long_frames(self) -> None:
        link = Link()
        alone, other = link.a.open(), link.a.open()
        Reader(link.a, alone)
        Reader(link.a, other)
        link.settle()
        link.a.send(alone, b"a" * 150_000)
        self.assertEqual(len(link.a.pull(65_536)[1]), 65_536 - HEADER_SIZE)
        link.a.send(other, b"o" * 50_000)
        turns = [len(chunk) for chunk in link.a.pull(65_536) if len(chunk) > HEADER_SIZE]
        self.assertEqual(turns, [32_768 - HEADER_SIZE] * 2)

    def test_large_frames_of_one_stream_that_come_together_are_one_delivery(self) -> None:
        link, size = Link(), 8000
        one, ping = header(DATA, 0, 1, size) + b"1" * size, header(PING, SYN, 0, 7)
        other = header(DATA, SYN, 3, size) + b"3" * size
        link.b.receive(header(DATA, SYN, 1, size) + b"1" * size + one + one[:-1], 0.0)
        link.b.receive(one[-1:] + other + one + ping + one, 0.0)
        link.b.receive(one + header(DATA, 0, 1, 5) + b"small" + header(DATA, FIN, 1, 3) + b"end", 0.0)
        first, second = link.readers
        sizes = [len(piece) for piece in first.pieces]
        self.assertEqual(sizes, [3 * size - 1, 1, size, size, size + 5, 3])
        self.assertEqual((first.pieces[-1], first.fin), (b"end", True))
        self.assertEqual(second.pieces, [b"3" * size])

    def test_what_came_before_a_reset_or_a_violation_is_delivered_first(self) -> None:
        data = b"x" * 8000
        for last in (header(WINDOW_UPDATE, RST, 1, 0), header(7, 0, 1, 0)):
            link = Link()
            with contextlib.suppress(ProtocolError):
                link.b.receive(header(DATA, SYN, 1, len(data)) + data + last, 0.0)
            self.assertEqual(link.readers[0].got, data)

    def test_what_has_little_to_send_goes_first_and_starves_nobody(self) -> None:
        link = Link()
        bulk = link.a.open()
        Reader(link.a, bulk)
        link.a.send(bulk, b"b" * INITIAL_WINDOW)
        link.a.pull(100_000)
        small = [link.a.open() for _ in range(40)]
        for stream in small:
            Reader(link.a, stream)
            link.a.send(stream, b"s" * 20_000)
        order = b"".join(bytes(chunk[:1]) for chunk in link.a.pull(1 << 20) if len(chunk) > 12)
        ahead = order.index(b"b")
        self.assertGreaterEqual(ahead * 20_000, MAX_SPARSE_RUN)
        self.assertLess((ahead - 1) * 20_000, MAX_SPARSE_RUN, "then bulk has its turn")
        self.assertIn(b"s", order[ahead:])

    def test_a_reader_that_does_not_read_stops_at_its_window(self) -> None:
        link = Link()
        stalled, lively = link.a.open(), link.a.open()
        Reader(link.a, stalled)
        Reader(link.a, lively)
        link.a.send(stalled, b"x" * 2_000_000)
        link.settle()
        self.assertEqual(len(link.readers[0].got), INITIAL_WINDOW)
        self.assertEqual(link.a.stats.window_stalls, 1)
        link.a.send(lively, b"y" * 1000)
        link.settle()
        self.assertEqual(link.readers[1].got, b"y" * 1000)

    def test_windows_grow_with_a_long_path_and_share_the_allowance(self) -> None:
        limits = MuxSettings(max_window=4 << 20, session_buffer=6 << 20)
        link = Link(limits)
        streams = [link.a.open() for _ in range(3)]
        for stream in streams:
            Reader(link.a, stream)
            link.a.send(stream, b"z" * (16 << 20))
        link.b.tick(0.0)
        ping = b"".join(link.b.pull(100))
        link.a.receive(ping, 0.05)
        link.b.receive(b"".join(link.a.pull(1)), 0.1)
        self.assertAlmostEqual(link.b.rtt or 0, 0.1)
        for round_trip in range(10):
            link.now = 0.1 * round_trip
            link.carry(8 << 20)
            for reader in link.readers:
                reader.read()
            link.carry(8 << 20)
        sizes = [reader.stream.receive.size for reader in link.readers]
        self.assertGreater(max(sizes), INITIAL_WINDOW)
        self.assertLessEqual(max(sizes), 4 << 20)
        self.assertLessEqual(sum(sizes), (6 << 20) + 3 * INITIAL_WINDOW)

    def test_more_streams_than_allowed_are_reset(self) -> None:
        link = Link(MuxSettings(max_streams=2))
        for _ in range(2):
            Reader(link.a, link.a.open())
        self.assertRaises(StreamRefused, link.a.open)
        link.settle()
        link.b.receive(header(WINDOW_UPDATE, SYN, 5, 0), 0)
        self.assertEqual(b"".join(link.b.pull(100)), header(WINDOW_UPDATE, RST, 5, 0))
        self.assertEqual(link.b.stream_count, 2)

    def test_a_place_is_free_again_however_a_stream_ended(self) -> None:
        link = Link(MuxSettings(max_streams=2))
        for number in range(30):
            stream = link.a.open()
            Reader(link.a, stream)
            link.settle()
            far = link.readers[-1].stream
            if number % 3 == 0:
                link.a.reset(stream)
            elif number % 3 == 1:
                link.b.reset(far)
            else:
                link.a.send_fin(stream)
                link.b.send_fin(far)
            link.settle()
            self.assertEqual((link.a.stream_count, link.b.stream_count), (0, 0))
        self.assertEqual((len(link.readers), link.b.stats.streams_refused), (30, 0))

    def test_what_a_stream_held_is_the_sessions_again_however_it_ended(self) -> None:
        for ending in ("ours", "theirs", "fin", "session"):
            link = Link(MuxSettings(session_buffer=1 << 20))
            stream = link.a.open()
            Reader(link.a, stream)
            link.a.send(stream, b"x" * (2 * INITIAL_WINDOW))
            link.settle()
            (reader,) = link.readers
            self.assertEqual(link.b._allowance.buffered, INITIAL_WINDOW)
            if ending == "ours":
                link.b.reset(reader.stream)
            elif ending == "theirs":
                link.a.reset(stream)
            elif ending == "session":
                link.b.close("test")
                link.a.close("test")
            else:
                link.a.send_fin(stream)
                reader.read()
                link.settle()
                link.b.send_fin(reader.stream)
            link.settle()
            reader.read()  # too late: it is given back already
            self.assertEqual((link.b._allowance.buffered, link.a._outgoing.unsent), (0, 0), ending)
            self.assertEqual(link.b._allowance.left, 1 << 20)

    def test_what_a_peer_that_has_ended_had_sent_counts_until_it_is_read_and_no_longer(self) -> None:
        """However long the answer takes: else a few uploads would make the windows of all others tight."""
        link = Link()
        stream = link.a.open()
        Reader(link.a, stream)
        link.a.send(stream, b"x" * INITIAL_WINDOW)
        link.a.send_fin(stream)
        link.settle()
        (reader,) = link.readers
        allowance, window = link.b._allowance, reader.stream.receive
        self.assertTrue(reader.fin)
        window.size = allowance.size(window.size, 8 << 20)  # it had grown
        self.assertEqual((allowance.buffered, allowance.grown), (INITIAL_WINDOW, 1))
        link.b.consumed(reader.stream, 1000)
        self.assertEqual((allowance.buffered, allowance.grown), (INITIAL_WINDOW - 1000, 1))
        link.b.consumed(reader.stream, INITIAL_WINDOW - 1000)
        self.assertEqual((allowance.buffered, allowance.grown, allowance.left), (0, 0, allowance.total))
        self.assertFalse(link.b.has_output, "credit is of no use any more")
        self.assertEqual(link.b.stream_count, 1)
        link.b.send_fin(reader.stream)
        link.settle()
        self.assertEqual((allowance.buffered, allowance.grown, allowance.left), (0, 0, allowance.total))

    def test_a_window_whose_bytes_were_read_when_the_peer_ends_is_given_back_at_once(self) -> None:
        link = Link()
        stream = link.a.open()
        Reader(link.a, stream)
        link.a.send(stream, b"x" * 1000)
        link.settle()
        (reader,) = link.readers
        reader.read()
        allowance, window = link.b._allowance, reader.stream.receive
        window.size = allowance.size(window.size, 8 << 20)
        link.a.send_fin(stream)
        link.settle()
        self.assertEqual((allowance.buffered, allowance.grown, allowance.left), (0, 0, allowance.total))

    def test_one_frame_may_use_a_whole_window_that_has_grown(self) -> None:
        link = Link(MuxSettings(max_window=1 << 20))
        link.b.receive(header(WINDOW_UPDATE, SYN, 1, 0), 0.0)
        (reader,) = link.readers
        reader.stream.receive.size = reader.stream.receive.available = 1 << 20
        link.b.receive(header(DATA, 0, 1, 1 << 20) + bytes(1 << 20), 0.0)
        self.assertEqual(len(reader.got), 1 << 20)
        reader.stream.receive.available = 2 << 20
        self.assertRaises(ProtocolError, link.b.receive, header(DATA, 0, 1, (1 << 20) + 1), 0.0)

    def test_ids_that_are_used_up(self) -> None:
        link = Link()
        link.a._next_id = 0xFFFF_FFFF
        Reader(link.a, link.a.open())
        self.assertRaises(StreamRefused, link.a.open)

    def test_violations_end_the_session(self) -> None:
        opened = header(WINDOW_UPDATE, SYN, 1, 0)
        for wire in (
            opened + header(DATA, 0, 1, INITIAL_WINDOW + 1),
            opened + opened,
            header(WINDOW_UPDATE, SYN, 2, 0),
            header(DATA, 0, 8, 0),
            opened + header(WINDOW_UPDATE, 0, 1, 0xFFFFFFFF),
            opened + header(WINDOW_UPDATE, FIN, 1, 0) + header(DATA, 0, 1, 1) + b"x",
            header(PING, SYN, 0, 1) * (FLOOD_LIMIT + 1),
            header(PING, ACK, 0, 7) * (FLOOD_LIMIT + 1),
            header(PING, 0, 0, 7) * (FLOOD_LIMIT + 1),
            header(GO_AWAY, 0, 0, NORMAL) * (FLOOD_LIMIT + 2),
            opened + header(WINDOW_UPDATE, ACK, 1, 0) * (FLOOD_LIMIT + 1),
            opened + header(WINDOW_UPDATE, FIN, 1, 0) * (FLOOD_LIMIT + 2),
            opened + header(WINDOW_UPDATE, RST, 1, 0) + (header(DATA, 0, 1, 1) + b"x") * FLOOD_LIMIT,
            opened + header(DATA, 0, 1, 0) * (FLOOD_LIMIT + 1),
            opened + header(WINDOW_UPDATE, 0, 1, 1) * (FLOOD_LIMIT + 1),
            opened + header(WINDOW_UPDATE, RST, 1, 0) + header(DATA, 0, 1, 0) * FLOOD_LIMIT,
            opened + header(WINDOW_UPDATE, RST, 1, 0) + header(WINDOW_UPDATE, 0, 1, 1 << 20) * FLOOD_LIMIT,
        ):
            self.assertRaises(ProtocolError, receive, Link().b, wire, 0.0)

    def test_reset_flood(self) -> None:
        wire = b"".join(
            header(WINDOW_UPDATE, SYN, id, 0) + header(WINDOW_UPDATE, RST, id, 0)
            for id in range(1, 2 * FLOOD_LIMIT + 4, 2)
        )
        link = Link()
        self.assertRaises(ProtocolError, receive, link.b, wire, 0.0)
        self.assertLessEqual(link.b.stream_count, 1)

    def test_flood_of_streams_beyond_the_limit(self) -> None:
        link = Link(MuxSettings(max_streams=1))
        with self.assertRaisesRegex(ProtocolError, "floods"):
            for id in range(1, 2 * FLOOD_LIMIT + 6, 2):
                link.b.receive(header(WINDOW_UPDATE, SYN, id, 0), 0.0)
                link.b.pull(1 << 20)

    def test_streams_that_the_peer_may_not_open_at_all_are_soon_a_flood(self) -> None:
        link = Link(MuxSettings(peer_streams=1))
        unexpected = FLOOD_LIMIT // UNEXPECTED_STREAM
        wire = b"".join(header(WINDOW_UPDATE, SYN, id, 0) for id in range(1, 2 * unexpected + 2, 2))
        receive(link.b, wire, 0.0)
        self.assertEqual((link.b.stream_count, link.b.stats.streams_refused), (1, unexpected))
        receive(link.b, header(WINDOW_UPDATE, RST, 1, 0), 60.0)
        receive(link.b, header(WINDOW_UPDATE, SYN, 2 * unexpected + 3, 0), 60.0)
        self.assertEqual(link.b.stream_count, 0, "one in all, not at a time")
        with self.assertRaisesRegex(ProtocolError, "floods"):
            for id in range(2 * unexpected + 5, 4 * unexpected + 9, 2):
                receive(link.b, header(WINDOW_UPDATE, SYN, id, 0), 60.0)

    def test_a_peer_gets_a_bounded_number_of_frames_at_a_time(self) -> None:
        link = Link()
        wire = header(PING, SYN, 0, 7) * (FRAMES_AT_ONCE + 3) + b"\0"
        rest = link.b.receive(wire, 0.0)
        self.assertEqual(rest, header(PING, SYN, 0, 7) * 3 + b"\0")
        self.assertEqual(link.b.receive(rest, 0.0), b"")
        self.assertEqual(link.b.receive(header(PING, SYN, 0, 8)[1:], 0.0), b"")
        answers = [header(PING, ACK, 0, 7)] * (FRAMES_AT_ONCE + 3) + [header(PING, ACK, 0, 8)]
        self.assertEqual(b"".join(link.b.pull(1 << 20)), b"".join(answers))

    def test_frames_that_carry_nothing_are_no_flood_at_a_pace_that_may_be(self) -> None:
        link = Link()
        for tenth in range(600):
            receive(link.b, header(PING, SYN, 0, 1) * (FLOOD_DECAY // 10), tenth / 10)
            link.b.pull(1 << 20)
        self.assertFalse(link.b.closed)

    def test_streams_that_are_acknowledged_and_end_are_no_flood(self) -> None:
        """Each has its two frames without credit, and late data when it is reset."""
        link = Link()
        for number in range(FLOOD_LIMIT + 1):
            stream = link.a.open()
            link.a.pull(1 << 20)
            receive(link.a, header(WINDOW_UPDATE, ACK, stream.id, 0), 0.0)
            Reader(link.a, stream)
            receive(link.a, header(WINDOW_UPDATE, FIN, stream.id, 0), 0.0)
            if not number % 10:
                link.a.reset(stream)
                receive(link.a, header(DATA, 0, stream.id, SMALL_DATA) + bytes(SMALL_DATA), 0.0)
            else:
                link.a.send_fin(stream)
                link.a.pull(1 << 20)
        self.assertEqual(link.a.stream_count, 0)

    def test_a_flood_is_one_however_long_it_was_quiet_before(self) -> None:
        link = Link()
        link.b.receive(header(PING, SYN, 0, 1), 0.0)
        with self.assertRaisesRegex(ProtocolError, "floods"):
            for tenth in range(600, 700):
                link.b.receive(header(PING, SYN, 0, 1) * 500, tenth / 10)
                link.b.pull(1 << 20)

    def test_a_peer_that_asks_and_reads_no_answers(self) -> None:
        link = Link()
        ask = header(PING, SYN, 0, 1) * 1000
        with self.assertRaisesRegex(ProtocolError, "does not read them"):
            for second in range(60):
                receive(link.b, ask, float(second))

    def test_bytes_in_tiny_frames_cost_no_more_memory_than_others(self) -> None:
        link = Link()
        stream = link.a.open()
        Reader(link.a, stream)
        link.settle()
        link.a.receive(header(WINDOW_UPDATE, ACK, 1, 0), 0.0)
        for _ in range(INITIAL_WINDOW + 50_000):
            link.a.send(stream, b"ab")
        self.assertLess(len(stream.pending), 700)
