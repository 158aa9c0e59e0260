"""WebSocket frames and handshake (RFC 6455). Pure: bytes in, messages out."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import NamedTuple

from superedge.errors import SuperEdgeError

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009

MAX_MESSAGE = 1024 * 1024
"""Default maximum bytes of a message."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FINAL, _MASKED, _CONTROL = 0x80, 0x80, 0x08


class WebSocketError(SuperEdgeError):
    """The peer violated the protocol; ``code`` is for the close frame."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Message(NamedTuple):
    """A complete data message or a control frame."""

    opcode: int
    payload: bytes


def accept_key(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key + _GUID).digest())


def encode(opcode: int, payload: bytes, mask: bytes | None = None) -> bytes:
    """One final frame; clients pass a ``mask`` of four bytes."""
    size = len(payload)
    masked = _MASKED if mask is not None else 0
    if size < 126:
        head = struct.pack("!BB", _FINAL | opcode, masked | size)
    elif size < 65536:
        head = struct.pack("!BBH", _FINAL | opcode, masked | 126, size)
    else:
        head = struct.pack("!BBQ", _FINAL | opcode, masked | 127, size)
    return head + payload if mask is None else head + mask + apply_mask(payload, mask)


def close_payload(code: int, reason: str = "") -> bytes:
    """The payload of a close frame."""
    return struct.pack("!H", code) + reason.encode()[:123]


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    """Apply or remove a mask."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)


class Reader:
    """Decodes messages from received bytes; ``masked`` is true when the peer is a client."""

    def __init__(self, masked: bool, limit: int = MAX_MESSAGE) -> None:
        self._masked = masked
        self._limit = limit
        self._buffer = bytearray()
        self._fragments: list[bytes] = []
        self._opcode: int | None = None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes. Raises WebSocketError, after which the reader is unusable."""
        self._buffer += data
        found = []
        while (frame := self._frame()) is not None:
            if (message := self._message(*frame)) is not None:
                found.append(message)
        return found

    def _frame(self) -> tuple[bool, int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        size, at = second & 0x7F, 2
        if first & 0x70:
            raise WebSocketError(PROTOCOL_ERROR, "a frame uses an extension that was not agreed")
        if bool(second & _MASKED) is not self._masked:
            raise WebSocketError(PROTOCOL_ERROR, "a client masks its frames and a server does not")
        if first & _CONTROL and (size > 125 or not first & _FINAL):
            raise WebSocketError(PROTOCOL_ERROR, "a control frame is whole and has at most 125 bytes")
        if size > 125:
            form = "!H" if size == 126 else "!Q"
            at += struct.calcsize(form)
            if len(buffer) < at:
                return None
            (size,) = struct.unpack_from(form, buffer, 2)
        if size + sum(map(len, self._fragments)) > self._limit:
            raise WebSocketError(TOO_BIG, f"a message has more than {self._limit} bytes")
        start = at + 4 if self._masked else at
        if len(buffer) < start + size:
            return None
        payload = bytes(buffer[start : start + size])
        if self._masked:
            payload = apply_mask(payload, bytes(buffer[at:start]))
        del buffer[: start + size]
        return bool(first & _FINAL), first & 0x0F, payload

    def _message(self, final: bool, opcode: int, payload: bytes) -> Message | None:
        if opcode in (CLOSE, PING, PONG):
            return Message(opcode, payload)
        if opcode not in (CONTINUATION, TEXT, BINARY):
            raise WebSocketError(PROTOCOL_ERROR, f"frames of kind {opcode:#x} are not known")
        if (opcode == CONTINUATION) is (self._opcode is None):
            raise WebSocketError(PROTOCOL_ERROR, "fragments of a message are out of order")
        if self._opcode is None:
            self._opcode = opcode
        self._fragments.append(payload)
        if not final:
            return None
        message = Message(self._opcode, b"".join(self._fragments))
        self._opcode, self._fragments = None, []
        return message
