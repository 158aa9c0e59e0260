"""The error of opening a stream to a node."""

from __future__ import annotations

from typing import Literal

from superedge.errors import SuperEdgeError

DialCode = Literal["refused", "timeout", "unresolvable", "denied", "limit", "internal", "not-connected"]


class DialError(SuperEdgeError):
    """A stream could not be opened. ``code`` is machine-readable; ``message`` is one clause."""

    def __init__(self, code: DialCode, message: str) -> None:
        self.code: DialCode = code
        self.message = message
        super().__init__(message)
