"""One stream of an HTTP/2 connection: what its response may be, and the credit for it. Pure."""

from __future__ import annotations

from superedge.web.h2frames import Code, StreamFault
from superedge.web.h2headers import content_length
from superedge.web.h2sending import Outgoing
from superedge.web.heads import ResponseHead

STREAM_WINDOW = 512 * 1024
"""Bytes that a server may send on a stream whose receiver takes none: what a stalled client costs."""
_NO_BODY = frozenset({204, 304})


class Stream:
    """One request and its response, as the session sees them; ``owner`` is for whoever opened it."""

    __slots__ = (
        "_body_left",
        "_consumed",
        "_credit",
        "_head_only",
        "answered",
        "ended",
        "id",
        "outgoing",
        "owner",
        "paused",
        "pieces",
    )

    def __init__(self, number: int, owner: object, head_only: bool, outgoing: Outgoing) -> None:
        self.id = number
        self.owner = owner
        self.outgoing = outgoing
        self.answered = False
        """Whether the response has begun."""
        self.ended = False
        """Whether it is whole, or failed."""
        self.paused = False
        self.pieces: list[bytes] | None = None
        """What came of the body in this round."""
        self._head_only = head_only
        self._body_left: int | None = None
        self._credit = STREAM_WINDOW
        self._consumed = 0

    @property
    def queued(self) -> int:
        """Bytes of the request's body that wait for the server's credit."""
        return self.outgoing.queued

    def answer(self, head: ResponseHead) -> None:
        """The response begins. Raises StreamFault."""
        self.answered = True
        length = content_length(head.headers)
        self._body_left = 0 if self._head_only or head.status in _NO_BODY else length

    def body(self, payload: bytes, size: int) -> bool:
        """Some of the body, ``size`` bytes with its padding; whether it is the first of this round.

        Raises StreamFault.
        """
        if self.ended or not self.answered:
            code = Code.STREAM_CLOSED if self.ended else Code.PROTOCOL_ERROR
            raise StreamFault(code, "data out of place")
        self._credit -= size
        if self._credit < 0:
            raise StreamFault(Code.FLOW_CONTROL_ERROR, "more data than there was credit for")
        self._consumed += size
        if not payload:
            return False
        if self._body_left is not None:
            self._body_left -= len(payload)
            if self._body_left < 0:
                raise StreamFault(Code.PROTOCOL_ERROR, "a body longer than announced")
        if self.pieces is not None:
            self.pieces.append(payload)
            return False
        self.pieces = [payload]
        return True

    @property
    def wants_credit(self) -> bool:
        """Whether there is enough to give for a frame."""
        return not self.paused and self._consumed >= STREAM_WINDOW // 2

    def take_credit(self) -> int:
        """The credit to give the server now."""
        if self.ended:
            return 0
        credit, self._consumed = self._consumed, 0
        self._credit += credit
        return credit

    def end(self) -> None:
        """The response is whole. Raises StreamFault."""
        if self._body_left:
            raise StreamFault(Code.PROTOCOL_ERROR, "a body shorter than announced")
        self.fail()

    def fail(self) -> None:
        """Nothing more of it counts."""
        self.ended = True
        self.pieces = None
