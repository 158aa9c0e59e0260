"""Which credentials a request presents, as the API server reads them. Pure.

Source: k8s.io/apiserver pkg/authentication/request, packages bearertoken and websocket.
"""

from __future__ import annotations

import base64
import binascii

from superedge.web.heads import header_lines, split_lines

_SUBPROTOCOL = b"base64url.bearer.authorization.k8s.io."
_REMOTE = b"x-remote-"


def bearer_token(lines: bytes, websocket: bool) -> str | None:
    """The bearer token that alone decides who asks; empty when nothing is presented.

    ``lines`` are the headers that the request is forwarded with; ``websocket`` is whether it asks to switch
    to WebSocket, since the API server takes a token among the subprotocols of no other request. None for
    credentials that cannot be attributed: another scheme, several of them, or one that is malformed.
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
    """What stands between the first space and the second: with two in a row there is no token."""
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
    """A token that can be sent in a header; None for any other."""
    text = token.decode("latin-1")
    return text if text and text.isascii() and text.isprintable() and " " not in text else None


def without_front_proxy(lines: bytes) -> bytes:
    """Headers without those by which a front proxy tells whom it has authenticated (``X-Remote-User``).

    lite-apiserver is no front proxy: it forwards as whoever asks, with that one's own credentials.
    """
    if _REMOTE not in lines.lower():
        return lines
    return header_lines(pair for pair in split_lines(lines) if not pair[0].lower().startswith(_REMOTE))
