"""Errors of Kubernetes requests and data."""

from __future__ import annotations

import msgspec

from superedge.errors import SuperEdgeError

JSON_FAULTS = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises for untrusted JSON: ValueError for text that is not UTF-8, RecursionError for deep
nesting."""


class DecodeError(SuperEdgeError):
    """A body or a watch frame that does not conform to its media type."""


class SelectorError(SuperEdgeError):
    """A selector that the API server refuses, too."""


class APIError(SuperEdgeError):
    """An error response of the API server: ``code`` is the HTTP status, ``reason`` that of the Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code} {reason}: {message}" if reason else f"{code}: {message}")


class Unavailable(SuperEdgeError):
    """No complete response: the server cannot be reached, or the connection ended early."""
