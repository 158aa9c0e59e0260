from __future__ import annotations

import time
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.access.authrequests import MAX_BODY
from superedge.liteapiserver.access.bodyreader import TIMEOUT, BodyReader
from superedge.web.bounded import BoundedBody
from superedge.web.server import ServerConnection
from superedge.web.serverrequest import Request

HEAD = b"POST /apis/a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n"


class AskedOfflineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[bytes | None] = []
        self.transport: Any = StringTransport()
        self.connection = ServerConnection(self.handle, set())
        self.connection.makeConnection(self.transport)

    def handle(self, request: Request) -> None:
        def answer(question: bytes | None) -> None:
            self.asked.append(question)
            request.respond(201, [])

        before = BoundedBody(MAX_BODY)
        before.add(b"may ")
        BodyReader(self.clock, request, before, answer)

    def status(self) -> bytes:
        return bytes(self.transport.value().split(b" ", 2)[1])

    def test_what_came_before_and_the_rest(self) -> None:
        self.connection.dataReceived(HEAD % (1, b"Expect: 100-continue\r\n"))
        self.assertEqual(self.transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.transport.clear()
        self.connection.dataReceived(b"I")
        self.assertEqual((self.asked, self.status()), ([b"may I"], b"201"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_body_in_single_bytes(self) -> None:
        """It takes some milliseconds, and not seconds: a piece costs the same however many came before."""
        self.connection.dataReceived(HEAD % (MAX_BODY, b""))
        request = self.connection._request
        assert request is not None and request.receiver is not None
        started = time.process_time()
        for _ in range(100_000):
            request.receiver.body(b"x")
        self.assertLess(time.process_time() - started, 2.0)

    def test_too_long(self) -> None:
        self.connection.dataReceived(HEAD % (MAX_BODY, b""))
        self.connection.dataReceived(b"x" * MAX_BODY)
        self.assertEqual((self.asked, self.status()), ([], b"413"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_slow(self) -> None:
        self.connection.dataReceived(HEAD % (2, b""))
        self.clock.advance(TIMEOUT - 1)
        self.connection.dataReceived(b"a")
        self.assertEqual(self.transport.value(), b"")
        self.clock.advance(1)
        self.assertEqual((self.asked, self.status()), ([], b"408"))
        self.assertIn(b"Connection: close\r\n", self.transport.value())

    def test_a_client_that_leaves(self) -> None:
        self.connection.dataReceived(HEAD % (2, b""))
        self.connection.connectionLost()
        self.assertEqual((self.asked, self.clock.getDelayedCalls()), ([], []))
