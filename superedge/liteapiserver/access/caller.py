"""Who asks, and as whom."""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import quote

from superedge.web.heads import split_lines
from superedge.web.pool import Pool

_IMPERSONATE = b"impersonate-"


def impersonation(lines: bytes) -> str:
    """What the name of a client begins with that asks as somebody else; empty for one that does not.

    ``lines`` are the headers that it is forwarded with. Whoever it asks as, with which groups and extra
    fields, sees other things, and has a cache of its own. Source: Kubernetes, "User impersonation".
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
    """The name in the cache of the clients whose certificates have a common name."""
    return f"cert:{common_name}"


class Caller:
    """The pool that speaks for a client, and the client's name in the cache, see `impersonation`.

    ``token`` is set when it is what names the client, and not a certificate. ``is_known`` is false for a
    client that cannot be told from others by what it presents: nothing is remembered for it.
    """

    __slots__ = ("identity", "is_known", "pool", "token")

    def __init__(self, pool: Pool, identity: str, token: str = "", is_known: bool = True) -> None:
        self.pool = pool
        self.identity = identity
        self.token = token
        self.is_known = is_known

    @property
    def authorization(self) -> bytes:
        """The Authorization header that presents the token; empty without one."""
        return b"Bearer " + self.token.encode() if self.token else b""
