"""What goes over a link between two nodes and over a node's stream to the cloud. Pure.

A frame is a u32 length, big endian, and so many bytes of MessagePack: an array whose first item says which
message it is. docs/protocol.md, "Health".
"""

from __future__ import annotations

from struct import Struct

import msgspec

from superedge.errors import SuperEdgeError
from superedge.health.votes.ballot import SignedBallot

KIND = "health"
"""Of a node's stream, in its prologue."""
LENGTH = Struct(">I")
FROM_PEER = 64 * 1024
"""Bytes of the longest message that a peer is believed."""
FROM_CLOUD = 4 * 1024 * 1024
"""Of the longest that the cloud is: a unit of ten thousand nodes."""
PORT = 51005
"""For links, as a rule."""
NO_ROUTE = 16
"""Hops to the cloud of a node that knows no way there."""


class MessageError(SuperEdgeError):
    """The other side sent what is no message."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """First on every link and stream, both ways.

    ``now`` is the sender's time, milliseconds since 1970; ``heard`` whether that is the cloud's. ``hops``:
    0 when the sender has a session with the cloud, else links to a node that has one. ``last`` is the highest
    sequence number that the sender knows of the receiver. ``port`` is where a node takes links.
    """

    now: int
    heard: bool
    hops: int
    last: int = 0
    port: int = PORT


class Chain(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A voter's certificate and those behind it, DER; goes before its first ballot."""

    certificates: tuple[bytes, ...]


class Ballots(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Of the sender, and of others that it passes on."""

    ballots: tuple[SignedBallot, ...]


class Hops(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The sender's way to the cloud has changed."""

    hops: int


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A node as its peers reach it: ``host`` is an address; its kubelet's port, and the one for links."""

    name: str
    host: str
    kubelet: int = 10250
    port: int = PORT


class Unit(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """From the cloud: the receiver's unit. Without members the receiver checks nobody."""

    name: str
    witnesses: int
    members: tuple[Member, ...]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """From the cloud: is the node there? ``now`` is the cloud's time."""

    number: int
    now: int


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """The answer to the Ping of that number."""

    number: int


Message = Hello | Chain | Ballots | Hops | Unit | Ping | Pong

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode_message(message: Message) -> bytes:
    """The frame."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


class MessageReader:
    """Cuts messages out of chunks; frames of more than ``limit`` bytes are refused at their first four."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Whether part of a frame is there."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are now whole. Raises MessageError."""
        buffer = self._buffer
        buffer += data
        found: list[Message] = []
        at = 0
        while len(buffer) - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(buffer, at)
            if not 0 < length <= self._limit:
                raise MessageError(f"a message of {length} bytes, where 1 to {self._limit} are taken")
            end = at + LENGTH.size + length
            if len(buffer) < end:
                break
            found.append(_decode(bytes(buffer[at + LENGTH.size : end])))
            at = end
        del buffer[:at]
        return found


def _decode(body: bytes) -> Message:
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise MessageError(f"not a message: {problem}") from problem
