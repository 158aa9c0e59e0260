"""A ballot: what one node says of its peers. Pure.

It is MessagePack of arrays in one canonical form, so that the bytes that were signed are the only ones that
can stand for it. docs/protocol.md, "Ballots".
"""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise
from typing import Literal

import msgspec

from superedge.errors import SuperEdgeError

MAX_ROWS = 256
MAX_BALLOT = 64 * 1024
"""Maximum size of a ballot's body in bytes."""
MAX_NAME = 253
"""Maximum characters of a node's or a unit's name."""
MAX_LIFETIME = 300_000
"""Maximum milliseconds between a ballot's issue and its expiry."""
MAX_NUMBER = 2**53
"""Sequence numbers and times must be below this."""

Reason = Literal[
    "malformed", "signature", "identity", "foreign", "expired", "future", "replayed", "unknown-certificate"
]
"""Why a ballot is refused; the label of the metric that counts it."""


class Refused(SuperEdgeError):
    """A ballot that is invalid, expired, or not from where it should be."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason: Reason = reason
        super().__init__(message)


class Opinion(IntEnum):
    """A voter's opinion of a peer; UNKNOWN usually because of the voter's own state."""

    UNKNOWN = 0
    HEALTHY = 1
    UNHEALTHY = 2


class Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """``score`` is 0 to 100; ``age`` the milliseconds from the last check to the ballot's issue."""

    peer: str
    opinion: Opinion
    score: int
    age: int


class Ballot(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Times are milliseconds since 1970 by the voter's estimate of the cloud's clock.

    ``sequence`` increases with each ballot of a voter, across restarts, too. ``rows`` are sorted by peer.
    """

    version: Literal[1]
    voter: str
    unit: str
    sequence: int
    issued: int
    expires: int
    rows: tuple[Row, ...]

    def of(self, peer: str) -> Row | None:
        """The row about a peer, or None."""
        return next((row for row in self.rows if row.peer == peer), None)


class SignedBallot(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A ballot as it is sent. ``key`` names the voter's certificate: the first 16 bytes of its SHA-256."""

    body: bytes
    signature: bytes
    key: bytes


def encode_ballot(ballot: Ballot) -> bytes:
    """The bytes that are signed."""
    return msgspec.msgpack.encode(ballot)


def decode_ballot(body: bytes) -> Ballot:
    """Decode the bytes that were signed. Raises Refused if they are not a ballot in its canonical form."""
    if len(body) > MAX_BALLOT:
        raise Refused("malformed", f"a ballot of {len(body)} bytes is too long")
    try:
        ballot = msgspec.msgpack.decode(body, type=Ballot)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise Refused("malformed", f"not a ballot: {problem}") from problem
    fault = _fault(ballot)
    if fault is None and encode_ballot(ballot) != body:
        fault = "its encoding is not the canonical one"
    if fault is not None:
        raise Refused("malformed", f"not a ballot: {fault}")
    return ballot


def _fault(ballot: Ballot) -> str | None:
    names = [row.peer for row in ballot.rows]
    if len(names) > MAX_ROWS:
        return f"it has {len(names)} rows"
    if any(one >= other for one, other in pairwise(names)):
        return "its rows are not sorted by peer, each once"
    if not all(0 < len(name) <= MAX_NAME for name in (ballot.voter, *names)) or len(ballot.unit) > MAX_NAME:
        return "a name in it is empty or too long"
    if not 0 < ballot.sequence < MAX_NUMBER or not 0 < ballot.issued < MAX_NUMBER:
        return "its sequence or time is out of range"
    if not 0 < ballot.expires - ballot.issued <= MAX_LIFETIME:
        return f"it is to be good for {ballot.expires - ballot.issued} ms"
    if not all(0 <= row.score <= 100 and 0 <= row.age < MAX_NUMBER for row in ballot.rows):
        return "a score or an age in it is out of range"
    return None
