"""``exec`` over a WebSocket, for commands that echo.

Source: Kubernetes, subprotocols v4.channel.k8s.io and v5.channel.k8s.io: the first byte of each binary
message is its channel; in v5 a message on channel 255 says which channel ends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from superedge.testing import websocket

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, END = 0, 1, 2, 3, 255


def outcome(code: int) -> bytes:
    """The Status of a command's exit code, for the error channel."""
    if code == 0:
        return json.dumps({"metadata": {}, "status": "Success"}).encode()
    causes = [{"reason": "ExitCode", "message": str(code)}]
    status = {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": causes},
    }
    return json.dumps(status).encode()


class EchoCommand(Protocol):
    """Runs ``echo ARGUMENT...`` or ``cat``; with ``stdin``, both echo their input.

    ``http`` is the connection's earlier protocol, whose ``connectionLost`` is called at the end.
    """

    def __init__(self, command: Sequence[str], stdin: bool, http: IProtocol) -> None:
        self._command = command
        self._stdin = stdin
        self._http = http
        self._reader = websocket.Reader(masked=True)
        self._ended = False
        self.transport: Any

    def connectionMade(self) -> None:
        """Run the command."""
        name = self._command[0] if self._command else ""
        if name not in ("echo", "cat"):
            self._send(STDERR, f"{name}: not found\n".encode())
            self._end(127)
            return
        if name == "echo":
            self._send(STDOUT, " ".join(self._command[1:]).encode() + b"\n")
        if not self._stdin:
            self._end(0)

    def dataReceived(self, data: bytes) -> None:
        """Process the client's messages. A protocol error closes the connection."""
        try:
            messages = self._reader.feed(data)
        except websocket.WebSocketError as problem:
            self._close(problem.code, str(problem))
            return
        for message in messages:
            self._received(message)

    def _received(self, message: websocket.Message) -> None:
        if message.opcode == websocket.CLOSE:
            self._close(websocket.NORMAL)
        elif message.opcode == websocket.PING:
            self.transport.write(websocket.encode(websocket.PONG, message.payload))
        elif message.opcode == websocket.BINARY and message.payload and not self._ended:
            channel, content = message.payload[0], message.payload[1:]
            if channel == STDIN and self._stdin:
                self._send(STDOUT, content)
            elif channel == END and content == bytes([STDIN]):
                self._end(0)

    def _send(self, channel: int, content: bytes) -> None:
        self.transport.write(websocket.encode(websocket.BINARY, bytes([channel]) + content))

    def _end(self, code: int) -> None:
        self._send(ERROR, outcome(code))
        self._close(websocket.NORMAL)

    def _close(self, code: int, reason: str = "") -> None:
        if not self._ended:
            self._ended = True
            payload = websocket.close_payload(code, reason)
            self.transport.write(websocket.encode(websocket.CLOSE, payload))
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the HTTP protocol."""
        self._http.connectionLost(reason)
