"""Faults of Kubernetes data, each one sentence."""

from __future__ import annotations

import msgspec

from superedge.errors import SuperEdgeError

JSON_FAULTS = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises for JSON from outside: text that is not UTF-8 is a ValueError, deep nesting a
RecursionError."""


class DecodeError(SuperEdgeError):
    """A body or a watch frame that is not what its media type says."""


class SelectorError(SuperEdgeError):
    """A selector that the API server would refuse too."""


class APIError(SuperEdgeError):
    """The API server's refusal: ``code`` is the HTTP status, ``reason`` the Status' word for programs."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code} {reason}: {message}" if reason else f"{code}: {message}")


class Unavailable(SuperEdgeError):
    """No whole answer came: the server cannot be reached, or the connection ended before it."""
