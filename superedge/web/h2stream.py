"""The state of one HTTP/2 stream: which frames its response may have next, and its receive window. Pure."""

from __future__ import annotations

from superedge.web.h2frames import Code, StreamFault
from superedge.web.h2headers import content_length
from superedge.web.h2sending import SendQueue
from superedge.web.heads import ResponseHead

STREAM_WINDOW = 512 * 1024
"""The receive window of a stream: bytes that a client that does not read costs in memory."""
_NO_BODY = frozenset({204, 304})


class H2Stream:
    """One request and its response; ``owner`` is an arbitrary value of the caller that opened it."""

    __slots__ = (
        "_body_left",
        "_consumed",
        "_credit",
        "_head_only",
        "answered",
        "chunks",
        "ended",
        "id",
        "outgoing",
        "owner",
        "paused",
    )

    def __init__(self, number: int, owner: object, head_only: bool, outgoing: SendQueue) -> None:
        self.id = number
        self.owner = owner
        self.outgoing = outgoing
        self.answered = False
        """Whether the response has begun."""
        self.ended = False
        """Whether the response is complete or failed."""
        self.paused = False
        self.chunks: list[bytes] | None = None
        """The body's chunks that the current `H2Session.receive` brought."""
        self._head_only = head_only
        self._body_left: int | None = None
        self._credit = STREAM_WINDOW
        self._consumed = 0

    @property
    def queued(self) -> int:
        """Bytes of the request's body that wait for the server's window."""
        return self.outgoing.queued

    def answer(self, head: ResponseHead) -> None:
        """Begin the response. Raises StreamFault."""
        self.answered = True
        length = content_length(head.headers)
        self._body_left = 0 if self._head_only or head.status in _NO_BODY else length

    def body(self, payload: bytes, size: int) -> bool:
        """Add part of the body, ``size`` bytes with its padding.

        Returns whether it is the first of the current `H2Session.receive`. Raises StreamFault.
        """
        if self.ended or not self.answered:
            code = Code.STREAM_CLOSED if self.ended else Code.PROTOCOL_ERROR
            raise StreamFault(code, "a DATA frame before or after the response")
        self._credit -= size
        if self._credit < 0:
            raise StreamFault(Code.FLOW_CONTROL_ERROR, "more data than the window allows")
        self._consumed += size
        if not payload:
            return False
        if self._body_left is not None:
            self._body_left -= len(payload)
            if self._body_left < 0:
                raise StreamFault(Code.PROTOCOL_ERROR, "the body is longer than its content-length")
        if self.chunks is not None:
            self.chunks.append(payload)
            return False
        self.chunks = [payload]
        return True

    @property
    def wants_credit(self) -> bool:
        """Whether the stream should get a WINDOW_UPDATE."""
        return not self.paused and self._consumed >= STREAM_WINDOW // 2

    def take_credit(self) -> int:
        """The size of the WINDOW_UPDATE to send now."""
        if self.ended:
            return 0
        credit, self._consumed = self._consumed, 0
        self._credit += credit
        return credit

    def end(self) -> None:
        """End the response. Raises StreamFault."""
        if self._body_left:
            raise StreamFault(Code.PROTOCOL_ERROR, "the body is shorter than its content-length")
        self.fail()

    def fail(self) -> None:
        """Ignore everything that follows."""
        self.ended = True
        self.chunks = None
