"""Who asks."""

from __future__ import annotations

from superedge.web.client import Pool


class Caller:
    """The pool that speaks for a client, and the client's name in the cache.

    ``authorization`` is set when it is what names the client, and not a certificate.
    """

    __slots__ = ("authorization", "identity", "pool")

    def __init__(self, pool: Pool, identity: str, authorization: bytes = b"") -> None:
        self.pool = pool
        self.identity = identity
        self.authorization = authorization
