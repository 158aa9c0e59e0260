"""Silence on a connection is asked about, and a server that does not answer is given up."""

from __future__ import annotations

from h2.events import PingReceived

from superedge.web import h2keepalive
from tests.web.h2case import SessionTestCase


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
