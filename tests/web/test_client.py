from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.web.channels import SwitchedConnection
from superedge.web.client import H1Connection
from superedge.web.heads import Headers, ResponseHead

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Receiver:
    def __init__(self) -> None:
        self.heads: list[ResponseHead] = []
        self.chunks: list[bytes] = []
        self.trailers: Headers | None = None
        self.reason = ""
        self.rest: bytes | None = None

    def response(self, head: ResponseHead) -> None:
        self.heads.append(head)

    def data(self, chunks: list[bytes]) -> None:
        self.chunks += chunks

    def complete(self, trailers: Headers) -> None:
        self.trailers = trailers

    def read_complete(self) -> None:
        pass

    def switched(self, connection: SwitchedConnection, rest: bytes) -> None:
        self.rest = rest

    def failed(self, reason: str) -> None:
        self.reason = reason

    @property
    def result(self) -> tuple[list[int], bytes, bool, str]:
        statuses = [head.status for head in self.heads]
        return statuses, b"".join(self.chunks), self.trailers is not None, self.reason


class ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.released: list[H1Connection] = []
        self.connection = H1Connection(self.released.append)
        self.transport = StringTransport()
        self.connection.makeConnection(self.transport)

    def ask(self, head_only: bool = False, complete: bool = True) -> Receiver:
        receiver = Receiver()
        self.connection.request(REQUEST, head_only, complete, receiver)
        return receiver

    def test_responses_one_after_the_other(self) -> None:
        for _ in range(3):
            receiver = self.ask()
            self.connection.dataReceived(OK)
            self.assertEqual(receiver.result, ([200], b"ok", True, ""))
        self.assertEqual(self.released, [self.connection] * 3)
        self.assertEqual(self.transport.value(), REQUEST * 3)

    def test_a_receiver_that_pauses_at_the_last_bytes_pauses_no_later_response(self) -> None:
        receiver = self.ask()
        receiver.complete = lambda trailers: self.transport.pauseProducing()  # type: ignore[method-assign]
        self.connection.dataReceived(OK)
        self.assertEqual(self.released, [self.connection])
        self.assertEqual(self.transport.producerState, "producing")

    def test_byte_by_byte_with_an_interim_response(self) -> None:
        receiver = self.ask()
        for byte in b"HTTP/1.1 100 Continue\r\n\r\n" + OK:
            self.connection.dataReceived(bytes([byte]))
        self.assertEqual(receiver.result, ([100, 200], b"ok", True, ""))

    def test_head(self) -> None:
        receiver = self.ask(head_only=True)
        self.connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n")
        self.assertEqual(receiver.result, ([200], b"", True, ""))
        receiver = self.ask()
        self.connection.dataReceived(OK)
        self.assertEqual(receiver.result, ([200], b"ok", True, ""))

    def test_body_that_ends_with_the_connection(self) -> None:
        receiver = self.ask()
        self.connection.dataReceived(b"HTTP/1.1 200 OK\r\n\r\nabc")
        self.assertIsNone(receiver.trailers)
        self.connection.readConnectionLost()
        self.assertEqual(receiver.result, ([200], b"abc", True, ""))
        self.assertFalse(self.connection.usable)

    def test_body_cut_short_is_a_failure(self) -> None:
        for head in (b"Content-Length: 9", b"Transfer-Encoding: chunked"):
            self.setUp()
            receiver = self.ask()
            self.connection.dataReceived(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n2\r\nab")
            self.connection.readConnectionLost()
            self.assertIsNone(receiver.trailers)
            self.assertTrue(receiver.reason)

    def test_lost_before_the_response(self) -> None:
        receiver = self.ask()
        self.connection.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(receiver.result, ([], b"", False, "the connection was lost"))

    def test_garbage(self) -> None:
        receiver = self.ask()
        self.connection.dataReceived(b"SSH-2.0-OpenSSH\r\n")
        self.assertIn("not an HTTP/1.1 message", receiver.reason)
        self.assertFalse(self.connection.usable)

    def test_connection_close(self) -> None:
        receiver = self.ask()
        self.connection.dataReceived(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(receiver.result, ([200], b"", True, ""))
        self.assertFalse(self.connection.usable)
        self.assertTrue(self.transport.disconnecting)

    def test_answer_nobody_asked_for(self) -> None:
        self.connection.dataReceived(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        self.assertFalse(self.connection.usable)

    def test_answered_before_the_request_was_sent(self) -> None:
        receiver = self.ask(complete=False)
        self.connection.dataReceived(OK)
        self.assertEqual(receiver.result, ([200], b"ok", True, ""))
        self.assertEqual(self.released, [])
        self.connection.request_sent()
        self.assertEqual(self.released, [self.connection])

    def test_switching_protocols(self) -> None:
        head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        for size in (1, 4096):
            self.setUp()
            receiver = self.ask()
            for at in range(0, len(head), size):
                self.connection.dataReceived(head[at : at + size])
            self.assertEqual(receiver.rest, b"")
        self.setUp()
        receiver = self.ask()
        self.connection.dataReceived(head + b"frame")
        self.assertEqual(receiver.rest, b"frame")

    def test_given_up_on_the_body(self) -> None:
        receiver = self.ask()
        receiver.data = lambda chunks: self.connection.abandon()  # type: ignore[method-assign]
        self.connection.dataReceived(OK)
        self.assertIsNone(receiver.trailers)
        self.assertEqual(self.released, [])

    def test_given_up(self) -> None:
        receiver = self.ask()
        self.connection.abandon()
        self.connection.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(receiver.reason, "")
        self.assertEqual(self.released, [])
