"""Bounds the memory of responses that clients do not read.

A response of the cloud passes through no faster than the client reads it. An answer from the cache and a
filtered list are whole in memory at once, with a copy for each client.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from superedge.liteapiserver.cache.answers import Answer, failure

MAX_UNSENT = 64 * 1024 * 1024
"""Bytes of such responses that wait for all clients together."""


class UnsentAnswers:
    """An identity may have as many bytes waiting as are left (dynamic thresholds: Choudhury and Hahne, 1998).

    So one identity has half of them at most, two have a third each, and an identity whose clients read always
    gets its response. The last response may exceed the limit.
    """

    def __init__(self) -> None:
        self._clients: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        """The identity of each transport that has bytes waiting."""

    def admits(self, identity: str) -> bool:
        """Whether there is memory for another response to a client of the identity."""
        total = own = 0
        for transport, owner in list(self._clients.items()):
            waiting = transport.unsent() if transport.connected else 0
            if not waiting:
                del self._clients[transport]
            total += waiting
            own += waiting if owner == identity else 0
        return not own or own < MAX_UNSENT - total

    def sent(self, transport: Any, identity: str) -> None:
        """A response was written to the transport of a client."""
        if transport.unsent():
            self._clients[transport] = identity


def too_much_unsent() -> Answer:
    """The refusal of a request whose identity has its share of bytes waiting."""
    message = (
        "clients of this identity have not read earlier responses: read them, or close their connections"
    )
    answer = failure(429, message, outcome="refused")
    answer.headers.append((b"Retry-After", b"1"))
    return answer
