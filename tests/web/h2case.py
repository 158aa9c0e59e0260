"""A session, with the library `h2` as its server."""

from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from twisted.trial.unittest import SynchronousTestCase

from superedge.web.h2session import Failed, H2Session
from superedge.web.h2stream import H2Stream
from superedge.web.heads import Headers

HEADERS: Headers = [
    (b"Host", b"cloud:6443"),
    (b"Accept", b"application/json"),
    (b"Authorization", b"Bearer a"),
]
OK = [(b":status", b"200"), (b"content-type", b"application/json")]


class SessionTestCase(SynchronousTestCase):
    """A session and a server; ``step`` bytes at a time go from the one to the other."""

    step = 1 << 30

    def setUp(self) -> None:
        self.now = 100.0
        self.session = H2Session(self.now)
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.server.initiate_connection()
        self.seen: list[Any] = []
        self.told: list[tuple[object, Any]] = []
        self.exchange()

    def exchange(self) -> None:
        """Until neither has anything to say."""
        while (there := self.session.data_to_send()) + (back := self.server.data_to_send()):
            for at in range(0, len(there), self.step):
                self.seen += self.server.receive_data(there[at : at + self.step])
            self.feed(back)

    def feed(self, data: bytes) -> None:
        for at in range(0, len(data), self.step):
            for stream, event in self.session.receive(data[at : at + self.step], self.now):
                self.told.append((stream.owner, event))

    def open(self, owner: object = "a", method: bytes = b"GET", body: bool = False) -> H2Stream:
        return self.session.open(method, b"/api/v1/pods", HEADERS, body, owner, self.now)

    def answer(self, stream: H2Stream, headers: list[tuple[bytes, bytes]] = OK, end: bool = False) -> None:
        self.server.send_headers(stream.id, headers, end_stream=end)

    def body(self, owner: object = "a") -> bytes:
        return b"".join(b"".join(event) for told, event in self.told if told == owner and type(event) is list)

    def events(self, owner: object = "a") -> list[Any]:
        """Without the body."""
        return [event for told, event in self.told if told == owner and type(event) is not list]

    def failure(self, owner: object = "a") -> Failed:
        (failed,) = [event for event in self.events(owner) if type(event) is Failed]
        return failed
