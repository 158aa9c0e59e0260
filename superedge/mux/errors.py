"""Why a session or a stream ended."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost

from superedge.errors import SuperEdgeError


class ProtocolError(SuperEdgeError):
    """The peer broke the wire format or its limits; the session cannot go on."""


class SessionClosed(SuperEdgeError):
    """The session is gone; no stream can be opened."""


class StreamRefused(SuperEdgeError):
    """No stream now: too many are open, or the peer said it takes no more."""


class StreamReset(ConnectionLost):
    """The peer, or the end of the session, cut the stream; bytes may be missing."""
