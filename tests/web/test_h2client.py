from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection as Server
from h2.events import DataReceived, RequestReceived, StreamReset
from h2.settings import SettingCodes
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.net.errors import ConnectError
from superedge.web import h2client, h2frames, h2keepalive, h2session
from superedge.web.h2client import H2Channel, H2Connection
from superedge.web.h2stream import STREAM_WINDOW
from superedge.web.heads import OutgoingRequest
from tests.producers import Producer
from tests.web.test_client import Receiver

LINES = b"Host: cloud\r\n"
OK = [(b":status", b"200")]


class Transport(StringTransport):
    waiting = 0

    def unsent(self) -> int:
        return self.waiting


class H2ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.changes = 0
        self.connection = H2Connection(self.clock, self.changed)  # type: ignore[arg-type]
        self.transport = Transport()
        self.connection.makeConnection(self.transport)
        self.server = Server(H2Configuration(client_side=False, header_encoding=None))
        self.server.initiate_connection()
        self.seen: list[Any] = []

    def changed(self, _connection: H2Connection) -> None:
        self.changes += 1

    def exchange(self) -> None:
        while True:
            there = self.transport.value()
            self.transport.clear()
            self.seen += self.server.receive_data(there)
            back = self.server.data_to_send()
            if back:
                self.connection.dataReceived(back)
            elif not there:
                return

    def ask(self, method: bytes = b"GET", body: bool = False) -> tuple[H2Channel, Receiver]:
        receiver, stream = Receiver(), self.connection.stream()
        stream.begin(OutgoingRequest(method, b"/", LINES, body, False), receiver)
        return stream, receiver

    def asked(self) -> list[int]:
        self.exchange()
        return [event.stream_id for event in self.seen if type(event) is RequestReceived]

    def test_ready_with_the_servers_settings(self) -> None:
        self.assertEqual((self.connection.room, self.connection.ready.called), (0, False))
        self.exchange()
        self.successResultOf(self.connection.ready)
        self.assertEqual(self.connection.room, h2session.MAX_STREAMS)
        self.assertEqual(self.changes, 1)

    def test_lost_before_that(self) -> None:
        self.connection.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(self.connection.ready, ConnectError)

    def test_requests_side_by_side(self) -> None:
        self.exchange()
        receivers = [self.ask()[1] for _ in range(3)]
        numbers = self.asked()
        for number in reversed(numbers):
            self.server.send_headers(number, OK)
            self.server.send_data(number, b"%d" % number, end_stream=True)
        self.exchange()
        self.assertEqual(
            [receiver.result for receiver in receivers],
            [([200], b"1", True, ""), ([200], b"3", True, ""), ([200], b"5", True, "")],
        )
        self.assertTrue(self.connection.idle)

    def test_one_receivers_failure_is_its_own(self) -> None:
        self.exchange()
        (_, bad), (_, good) = self.ask(), self.ask()
        bad.data = lambda chunks: 1 / 0  # type: ignore[method-assign,assignment]
        for number in self.asked():
            self.server.send_headers(number, OK)
            self.server.send_data(number, b"x")
        self.exchange()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(good.chunks, [b"x"])
        self.assertEqual([event.stream_id for event in self.seen if type(event) is StreamReset], [1])

    def test_a_receiver_that_gives_up_in_the_middle(self) -> None:
        self.exchange()
        stream, receiver = self.ask()
        receiver.response = lambda head: stream.abandon()  # type: ignore[method-assign]
        self.asked()
        self.server.send_headers(1, OK)
        self.server.send_data(1, b"x", end_stream=True)
        self.connection.dataReceived(self.server.data_to_send())
        self.assertEqual((receiver.chunks, receiver.trailers, receiver.reason), ([], None, ""))

    def test_a_body_holds_its_producer_back(self) -> None:
        self.exchange()
        stream, _ = self.ask(b"POST", True)
        producer = Producer()
        stream.body_from(producer)
        sent = 0
        while not producer.paused:
            stream.send(b"x" * 50_000)
            sent += 50_000
        self.exchange()
        self.assertEqual(sum(len(e.data) for e in self.seen if type(e) is DataReceived), 65_535)
        self.assertTrue(producer.paused)
        self.server.increment_flow_control_window(sent)
        self.server.increment_flow_control_window(sent, 1)
        self.exchange()
        self.assertFalse(producer.paused)
        self.assertEqual(sum(len(e.data) for e in self.seen if type(e) is DataReceived), sent)

    def test_given_up_while_the_producer_is_held(self) -> None:
        self.exchange()
        stream, receiver = self.ask(b"POST", True)
        producer = Producer()
        stream.body_from(producer)
        stream.send(b"x" * 1_000_000)
        self.assertTrue(producer.paused)
        self.asked()
        self.server.send_headers(1, OK, end_stream=True)
        receiver.complete = lambda trailers: stream.give_up_body()  # type: ignore[method-assign]
        self.exchange()
        self.assertFalse(producer.paused)
        self.assertTrue(self.connection.idle)

    def test_bodies_wait_while_the_server_does_not_read(self) -> None:
        self.exchange()
        stream, _ = self.ask(b"POST", True)
        self.exchange()
        self.connection.pauseProducing()
        stream.send(b"x")
        self.assertEqual(self.transport.value(), b"")
        self.connection.resumeProducing()
        self.assertIn(b"x", self.transport.value())

    def test_a_server_that_makes_us_write_and_does_not_read(self) -> None:
        self.exchange()
        self.connection.pauseProducing()
        self.transport.waiting = h2client.MAX_UNSENT + 1
        self.connection.dataReceived(h2frames.frame(h2frames.PING, 0, 0, bytes(8)))
        self.assertTrue(self.transport.disconnected)

    def test_paused_and_resumed(self) -> None:
        self.exchange()
        stream, receiver = self.ask()
        self.asked()
        self.server.send_headers(1, OK)
        self.exchange()
        stream.pauseProducing()
        for _ in range(2):
            while size := min(16_384, self.server.local_flow_control_window(1)):
                self.server.send_data(1, bytes(size))
                self.exchange()
            self.assertGreaterEqual(sum(map(len, receiver.chunks)), STREAM_WINDOW)
            stream.resumeProducing()
            self.exchange()
            stream.pauseProducing()
        self.assertEqual(sum(map(len, receiver.chunks)), 2 * STREAM_WINDOW)

    def test_room_counts_what_is_about_to_be_used(self) -> None:
        self.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
        self.exchange()
        stream = self.connection.stream()
        self.ask()
        self.assertEqual(self.connection.room, 0)
        stream.abandon()
        self.assertEqual(self.connection.room, 1)

    def test_drained(self) -> None:
        self.exchange()
        self.ask()
        self.asked()
        self.connection.drain()
        self.assertEqual(self.connection.room, 0)
        self.assertFalse(self.transport.disconnecting)
        self.server.send_headers(1, OK, end_stream=True)
        self.connection.dataReceived(self.server.data_to_send())
        self.assertTrue(self.transport.disconnecting)
        self.assertTrue(self.transport.value().endswith(h2frames.goaway(0, h2frames.Code.NO_ERROR)))

    def test_lost_with_requests_under_way(self) -> None:
        self.exchange()
        (_, first), (second_stream, second) = self.ask(), self.ask()
        second_stream.abandon()
        self.connection.connectionLost(Failure(ConnectionLost()))
        self.assertEqual((first.reason, second.reason), ("the connection was lost", ""))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused_streams_may_be_tried_again(self) -> None:
        self.exchange()
        stream, receiver = self.ask()
        self.asked()
        self.assertFalse(stream.used)
        self.server.reset_stream(1, 7)
        self.exchange()
        self.assertIn("REFUSED_STREAM", receiver.reason)
        self.assertTrue(stream.used)

    def test_a_dead_connection(self) -> None:
        self.exchange()
        _, receiver = self.ask()
        self.asked()
        self.clock.pump([1.0] * int(h2keepalive.PING_AFTER + h2keepalive.PING_TIMEOUT + 1))
        self.assertTrue(self.transport.disconnected)
        self.connection.connectionLost(Failure(ConnectionLost()))
        self.assertIn("no answer to a PING", receiver.reason)

    def test_garbage(self) -> None:
        self.exchange()
        _, receiver = self.ask()
        self.connection.dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertTrue(self.transport.disconnected)
        self.connection.connectionLost(Failure(ConnectionLost()))
        self.assertIn("not valid HTTP/2", receiver.reason)
