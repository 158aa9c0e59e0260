from __future__ import annotations

import json
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.remotecommand import END, ERROR, STDERR, STDIN, STDOUT, EchoCommand
from superedge.testing.websocket import BINARY, CLOSE, PING, PONG, Message, Reader, encode

MASK = b"abcd"


class EchoCommandTests(SynchronousTestCase):
    def begin(self, *command: str, stdin: bool = False) -> None:
        self.lost: list[Any] = []
        http = Protocol()
        http.connectionLost = self.lost.append  # type: ignore[method-assign,assignment]
        self.transport = StringTransport()
        self.protocol = EchoCommand(command, stdin, http)
        self.protocol.makeConnection(self.transport)

    def send(self, opcode: int, payload: bytes) -> None:
        for byte in encode(opcode, payload, MASK):
            self.protocol.dataReceived(bytes([byte]))

    def sent(self) -> list[Message]:
        messages = Reader(masked=False).feed(self.transport.value())
        self.transport.clear()
        return messages

    def check_end(self, messages: list[Message], status: str) -> None:
        error, close = messages
        self.assertEqual((error.payload[0], json.loads(error.payload[1:])["status"]), (ERROR, status))
        self.assertEqual(close, Message(CLOSE, b"\x03\xe8"))
        self.assertTrue(self.transport.disconnecting)

    def test_echo(self) -> None:
        self.begin("echo", "a", "b")
        first, *rest = self.sent()
        self.assertEqual(first, Message(BINARY, bytes([STDOUT]) + b"a b\n"))
        self.check_end(rest, "Success")

    def test_stdin_until_it_ends(self) -> None:
        self.begin("cat", stdin=True)
        self.send(BINARY, bytes([STDIN]) + b"hello")
        self.assertEqual(self.sent(), [Message(BINARY, bytes([STDOUT]) + b"hello")])
        self.send(PING, b"?")
        self.assertEqual(self.sent(), [Message(PONG, b"?")])
        self.send(BINARY, bytes([END, STDIN]))
        self.check_end(self.sent(), "Success")

    def test_unknown_command(self) -> None:
        self.begin("reboot")
        first, *rest = self.sent()
        self.assertEqual(first, Message(BINARY, bytes([STDERR]) + b"reboot: not found\n"))
        self.assertIn(b'"message": "127"', rest[0].payload)
        self.check_end(rest, "Failure")

    def test_client_closes(self) -> None:
        self.begin("cat", stdin=True)
        self.send(CLOSE, b"")
        self.assertEqual(self.sent(), [Message(CLOSE, b"\x03\xe8")])

    def test_broken_client(self) -> None:
        self.begin("cat", stdin=True)
        self.protocol.dataReceived(encode(BINARY, b"not masked"))
        (close,) = self.sent()
        self.assertEqual((close.opcode, close.payload[:2]), (CLOSE, b"\x03\xea"))
        self.assertTrue(self.transport.disconnecting)

    def test_the_request_hears_of_the_end(self) -> None:
        self.begin("cat", stdin=True)
        self.protocol.connectionLost("gone")  # type: ignore[arg-type]
        self.assertEqual(self.lost, ["gone"])
