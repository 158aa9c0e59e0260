"""The caller of a request: its identity in the cache and its connection pool."""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import quote

from superedge.web.heads import split_lines
from superedge.web.pool import Pool

_IMPERSONATE = b"impersonate-"


def impersonation(lines: bytes) -> str:
    """The prefix of an impersonating client's identity; empty for a client that does not impersonate.

    ``lines`` are the forwarded headers. The impersonated user, groups and extra fields decide what the client
    sees, so each combination has a cache of its own. Source: Kubernetes, "User impersonation".
    """
    if _IMPERSONATE not in lines.lower():
        return ""
    headers = [(name.lower(), value) for name, value in split_lines(lines)]
    named = [pair for pair in headers if pair[0].startswith(_IMPERSONATE)]
    if not named:
        return ""
    user = b",".join(value for name, value in named if name == b"impersonate-user")
    digest = sha256(repr(sorted(named)).encode()).hexdigest()[:32]
    return f"as:{quote(user, safe='')}:{digest}:"


def certificate_identity(common_name: str) -> str:
    """The identity in the cache of clients whose certificates have a common name."""
    return f"cert:{common_name}"


class Caller:
    """The pool that forwards a client's requests, and its identity in the cache.

    ``token`` is the bearer token of a client that is identified by it, else empty. ``is_known`` is false for
    a client whose credentials do not identify it: nothing is cached for it.
    """

    __slots__ = ("identity", "is_known", "pool", "token")

    def __init__(self, pool: Pool, identity: str, token: str = "", is_known: bool = True) -> None:
        self.pool = pool
        self.identity = identity
        self.token = token
        self.is_known = is_known

    @property
    def authorization(self) -> bytes:
        """The Authorization header with the token; empty without a token."""
        return b"Bearer " + self.token.encode() if self.token else b""
