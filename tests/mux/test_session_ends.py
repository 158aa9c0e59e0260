"""How streams and sessions end, and how a silent peer is noticed."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.mux.frames import ACK, DATA, FIN, RST, SYN, WINDOW_UPDATE, header
from tests.mux.test_session import Link, Reader


class EndTests(SynchronousTestCase):
    def test_late_frames_of_a_stream_that_is_gone_are_ignored(self) -> None:
        link = Link()
        stream = link.a.open()
        Reader(link.a, stream)
        link.settle()
        link.a.reset(stream)
        link.a.receive(header(DATA, 0, 1, 3) + b"abc" + header(WINDOW_UPDATE, FIN, 1, 7), 0)
        self.assertEqual(link.a.stream_count, 0)

    def test_a_stream_that_was_reset_sends_and_hears_no_more(self) -> None:
        link = Link()
        stream = link.a.open()
        Reader(link.a, stream)
        link.a.send(stream, b"never mind")
        link.a.send_fin(stream)
        link.a.reset(stream)
        self.assertEqual(b"".join(link.a.pull(1 << 20)), header(WINDOW_UPDATE, SYN | RST, 1, 0))
        wire = header(DATA, SYN, 3, 8) + b"one two "
        link.b.receive(wire[:16], 0.0)
        (reader,) = link.readers
        link.b.reset(reader.stream)
        link.b.receive(wire[16:] + header(DATA, FIN, 3, 5) + b"three", 0.0)
        self.assertEqual((reader.got, reader.fin), (b"one ", False))
        self.assertEqual(b"".join(link.b.pull(1 << 20)), header(WINDOW_UPDATE, ACK | RST, 3, 0))

    def test_an_end_that_comes_with_the_last_bytes(self) -> None:
        wire = header(DATA, SYN | FIN, 1, 5) + b"whole" + header(DATA, SYN, 3, 4) + b"more"
        for cut in range(1, len(wire)):
            link = Link()
            link.b.receive(wire[:cut], 0.0)
            link.b.receive(wire[cut:], 0.0)
            ended, open_ = link.readers
            self.assertEqual((ended.got, ended.fin), (b"whole", True))
            self.assertEqual((open_.got, open_.fin), (b"more", False))

    def test_ping_and_silence(self) -> None:
        link = Link()
        self.assertTrue(link.a.tick(0))
        link.now = 0.25
        link.carry()
        link.carry()
        self.assertEqual(link.a.rtt, 0.25)
        self.assertTrue(link.a.tick(9.9))
        self.assertTrue(link.a.tick(12.4))
        self.assertTrue(link.a.tick(20.2))
        self.assertFalse(link.a.tick(20.3))

    def test_silence_is_noticed_in_time_whenever_it_began(self) -> None:
        for cut in range(0, 100, 3):  # tenths of a second after a ping
            link = Link()
            at = 0.0
            while link.a.tick(at):
                if at <= cut / 10:
                    link.now = at
                    link.carry()
                    link.carry()
                at += 2.501  # timers are late
            self.assertLessEqual(at - cut / 10, 22.6)
            self.assertGreaterEqual(at - cut / 10, 10)

    def test_who_was_suspended_hears_the_peer_out(self) -> None:
        link = Link()
        link.a.tick(0)
        self.assertTrue(link.a.tick(60))
        for second in range(62, 80, 2):
            self.assertTrue(link.a.tick(second))
        self.assertFalse(link.a.tick(80), "and then it is silence again")

    def test_ack_leaves_although_nothing_is_written(self) -> None:
        link = Link()
        link.b.receive(header(WINDOW_UPDATE, SYN, 1, 0), 0)
        self.assertEqual(b"".join(link.b.pull(100)), header(WINDOW_UPDATE, ACK, 1, 0))

    def test_closing_tells_every_stream(self) -> None:
        link = Link()
        events: Any = Reader(link.a, link.a.open())
        link.a.close("gone")
        self.assertEqual(events.end, "gone")
