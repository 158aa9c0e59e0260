"""Errors of connecting and listening. The text of each is one sentence that names the address."""

from __future__ import annotations

from superedge.errors import SuperEdgeError


class ConnectError(SuperEdgeError):
    """A connection was not established. A subclass names the step that failed."""


class ResolveError(ConnectError):
    """The name has no address, or the resolver did not answer."""


class ConnectionRefused(ConnectError):
    """The peer refused the connection, or the address cannot be reached."""


class ConnectTimeout(ConnectError):
    """No connection, or no complete TLS handshake, within the timeout."""


class TLSError(ConnectError):
    """The TLS handshake failed: untrusted or expired certificate, wrong name, or not TLS at all."""
