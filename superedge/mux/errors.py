"""Errors of sessions and streams."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost

from superedge.errors import SuperEdgeError


class ProtocolError(SuperEdgeError):
    """The peer violated the wire format or its limits; the session must end."""


class SessionClosed(SuperEdgeError):
    """The session has ended; no stream can be opened."""


class StreamRefused(SuperEdgeError):
    """No stream can be opened now: too many are open, or the peer sent go-away."""


class StreamReset(ConnectionLost):
    """The peer reset the stream, or the session ended; bytes may be missing."""
