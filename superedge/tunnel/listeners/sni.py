"""Reads the server name out of a TLS ClientHello, however it is cut. Pure.

Sources: RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3.
"""

from __future__ import annotations

from superedge.errors import SuperEdgeError

MAX_HELLO = 32 * 1024
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0


class NotTLS(SuperEdgeError):
    """The bytes are no ClientHello."""


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
    """Feed it what the caller sends; keep the bytes: they belong to the target."""

    def __init__(self) -> None:
        self.received = b""

    def feed(self, data: bytes) -> str | None:
        """The server name in lower case, "" if none was asked for, None while more is needed.

        Raises NotTLS.
        """
        self.received += data
        message = self._handshake()
        return None if message is None else server_name(message)

    def _handshake(self) -> bytes | None:
        """The ClientHello's body once it is whole, joined from its records."""
        data, at, message = self.received, 0, b""
        while len(data) - at >= 5:
            if data[at] != _HANDSHAKE or data[at + 1] != 3:
                raise NotTLS("the caller does not speak TLS")
            length = int.from_bytes(data[at + 3 : at + 5], "big")
            if not length:
                raise NotTLS("an empty handshake record")
            message += data[at + 5 : at + 5 + length]
            at += 5 + length
            if message[0] != _CLIENT_HELLO if message else False:
                raise NotTLS("the first handshake message is no ClientHello")
            if len(message) >= 4:
                size = int.from_bytes(message[1:4], "big")
                if size > MAX_HELLO:
                    raise NotTLS(f"a ClientHello of {size} bytes is too long")
                if len(message) >= 4 + size:
                    return message[4 : 4 + size]
        if data and data[0] != _HANDSHAKE:
            raise NotTLS("the caller does not speak TLS")
        if len(data) > 2 * MAX_HELLO:
            raise NotTLS("the ClientHello does not end")
        return None


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
