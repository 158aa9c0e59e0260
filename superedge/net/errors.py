"""Why a connection could not be made. Each is one sentence naming the address."""

from __future__ import annotations

from superedge.errors import SuperEdgeError


class ConnectError(SuperEdgeError):
    """A connection was not established; subclasses say at which step."""


class ResolveError(ConnectError):
    """The name has no address, or the resolver did not answer."""


class ConnectionRefused(ConnectError):
    """The address answered that nothing listens there, or cannot be reached at all."""


class ConnectTimeout(ConnectError):
    """No answer, or no finished TLS handshake, within the time allowed."""


class TLSError(ConnectError):
    """The TLS handshake failed: untrusted or expired certificate, wrong name, or not TLS at all."""
