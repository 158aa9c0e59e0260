"""The error of the HTTP/1.1 parsers."""

from __future__ import annotations

from superedge.errors import SuperEdgeError


class MessageError(SuperEdgeError):
    """The bytes are not a valid HTTP message. ``code`` is the status that a server responds with."""

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code
