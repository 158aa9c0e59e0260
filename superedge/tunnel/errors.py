"""Why a stream to a node could not be opened."""

from __future__ import annotations

from typing import Literal

from superedge.errors import SuperEdgeError

DialCode = Literal["refused", "timeout", "unresolvable", "denied", "limit", "internal", "not-connected"]


class DialError(SuperEdgeError):
    """``code`` is for programs, the text for people."""

    def __init__(self, code: DialCode, message: str) -> None:
        self.code: DialCode = code
        self.message = message
        super().__init__(message)
