"""What is raised by readers of HTTP messages."""

from __future__ import annotations

from superedge.errors import SuperEdgeError


class MessageError(SuperEdgeError):
    """Bytes that are no HTTP message; ``code`` is what a server answers."""

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code
