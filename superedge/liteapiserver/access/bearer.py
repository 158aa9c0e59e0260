"""Reads the bearer token of a request, as the API server does. Pure.

Source: k8s.io/apiserver pkg/authentication/request, packages bearertoken and websocket.
"""

from __future__ import annotations

import base64
import binascii

from superedge.web.heads import header_lines, split_lines

_SUBPROTOCOL = b"base64url.bearer.authorization.k8s.io."
_REMOTE = b"x-remote-"


def bearer_token(lines: bytes, websocket: bool) -> str | None:
    """The single bearer token of a request; empty for a request without credentials.

    ``lines`` are the forwarded headers. ``websocket`` says whether the request asks to switch to WebSocket,
    the only case in which the API server reads a token from the subprotocols. None for credentials that do
    not identify a caller: another scheme, several tokens, or a malformed one.
    """
    if b"authorization" not in lines.lower():
        return ""
    found: list[str | None] = []
    for name, value in split_lines(lines):
        low = name.lower()
        if low == b"authorization":
            found.append(_bearer(value))
        elif low == b"sec-websocket-protocol":
            protocols = [each.strip() for each in value.split(b",")]
            tokens = [each for each in protocols if each.startswith(_SUBPROTOCOL)]
            found += [_subprotocol(each) if websocket else None for each in tokens]
    if not found:
        return ""
    return found[0] if len(found) == 1 else None


def _bearer(value: bytes) -> str | None:
    """The text between the first space and the second; two spaces in a row leave no token."""
    scheme, token, *_ = [*value.strip().split(b" ", 2), b""]
    if scheme.lower() != b"bearer":
        return None
    return _text(token)


def _subprotocol(protocol: bytes) -> str | None:
    encoded = protocol.removeprefix(_SUBPROTOCOL)
    try:
        return _text(base64.b64decode(encoded + b"=" * (-len(encoded) % 4), b"-_", validate=True))
    except binascii.Error:
        return None


def _text(token: bytes) -> str | None:
    """A token that a header can carry; None for any other."""
    text = token.decode("latin-1")
    return text if text and text.isascii() and text.isprintable() and " " not in text else None


def without_front_proxy(lines: bytes) -> bytes:
    """Headers without those in which a front proxy names the authenticated user (``X-Remote-User``).

    lite-apiserver is no front proxy: it forwards a request with the caller's own credentials.
    """
    if _REMOTE not in lines.lower():
        return lines
    return header_lines(pair for pair in split_lines(lines) if not pair[0].lower().startswith(_REMOTE))
