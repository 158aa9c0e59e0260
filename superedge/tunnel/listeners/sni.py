"""Reads the server name (SNI) of a TLS ClientHello, in any fragmentation. Pure.

Sources: RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3.
"""

from __future__ import annotations

from superedge.errors import SuperEdgeError

MAX_HELLO = 32 * 1024
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0
_RECORD_HEAD, _MESSAGE_HEAD = 5, 4


class NotTLS(SuperEdgeError):
    """The bytes are not a ClientHello."""


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise NotTLS("a ClientHello's lengths do not fit")
        piece, self.at = self.data[self.at : end], end
        return piece

    def vector(self, size: int) -> _Cursor:
        return _Cursor(self.take(self.number(size)))

    def __bool__(self) -> bool:
        return self.at < len(self.data)


class ClientHelloReader:
    """Reads a ClientHello, and keeps the received bytes for the target."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._message = bytearray()
        """The beginning of the handshake, joined from its records."""
        self._at = 0
        """Position in ``_received`` behind the bytes that are in ``_message``."""
        self._left = 0
        """Bytes that the current record still lacks."""

    @property
    def received(self) -> bytes:
        """All bytes that were fed."""
        return bytes(self._received)

    def feed(self, data: bytes) -> str | None:
        """The server name in lower case, "" without one, None while more is needed.

        Raises NotTLS.
        """
        self._received += data
        while self._join_record():
            hello = self._hello()
            if hello is not None:
                return server_name(hello)
        if len(self._received) > 2 * MAX_HELLO:
            raise NotTLS("the ClientHello does not end")
        return None

    def _join_record(self) -> bool:
        """Append the received part of one record to the message. Return False without any."""
        data, at = self._received, self._at
        if at == len(data):
            return False
        if not self._left:
            if data[at] != _HANDSHAKE or (at + 1 < len(data) and data[at + 1] != 3):
                raise NotTLS("the caller does not speak TLS")
            if len(data) - at < _RECORD_HEAD:
                return False
            at += _RECORD_HEAD
            self._left = int.from_bytes(data[at - 2 : at], "big")
            if not self._left:
                raise NotTLS("an empty handshake record")
        piece = data[at : at + self._left]
        self._message += piece
        self._left -= len(piece)
        self._at = at + len(piece)
        return True

    def _hello(self) -> bytes | None:
        """The ClientHello's body once it is complete."""
        message = self._message
        if message and message[0] != _CLIENT_HELLO:
            raise NotTLS("the first handshake message is no ClientHello")
        if len(message) < _MESSAGE_HEAD:
            return None
        size = int.from_bytes(message[1:_MESSAGE_HEAD], "big")
        if size > MAX_HELLO:
            raise NotTLS(f"a ClientHello of {size} bytes is too long")
        end = _MESSAGE_HEAD + size
        return bytes(message[_MESSAGE_HEAD:end]) if len(message) >= end else None


def server_name(hello: bytes) -> str:
    """The host name of the server_name extension, "" without one. Raises NotTLS."""
    cursor = _Cursor(hello)
    cursor.take(2 + 32)
    cursor.vector(1)
    cursor.vector(2)
    cursor.vector(1)
    if not cursor:
        return ""
    extensions = cursor.vector(2)
    while extensions:
        kind = extensions.number(2)
        body = extensions.vector(2)
        if kind == _SERVER_NAME:
            names = body.vector(2)
            while names:
                name_kind = names.number(1)
                name = names.vector(2).data
                if name_kind == _HOST_NAME:
                    try:
                        return name.decode("ascii").lower()
                    except UnicodeDecodeError:
                        raise NotTLS("the server name is not ASCII") from None
    return ""
