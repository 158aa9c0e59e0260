"""The messages on links between nodes and on nodes' streams to the cloud. Pure.

A frame is a big-endian u32 length and as many bytes of MessagePack: an array whose first item is the kind
of message. docs/protocol.md, "Health".
"""

from __future__ import annotations

from struct import Struct
from typing import Annotated

import msgspec

from superedge.errors import SuperEdgeError
from superedge.health.votes.ballot import SignedBallot

KIND = "health"
"""The kind of the stream in its prologue."""
LENGTH = Struct(">I")
FROM_PEER = 64 * 1024
"""Maximum size of a message from a peer in bytes."""
FROM_CLOUD = 4 * 1024 * 1024
"""Maximum size of a message from the cloud: a unit of ten thousand nodes."""
PORT = 51005
"""Default port for links."""
NO_ROUTE = 16
"""Number of hops of a node without a route to the cloud."""


class MessageError(SuperEdgeError):
    """The peer sent something that is not a message."""


Milliseconds = Annotated[int, msgspec.Meta(ge=0, lt=253_370_764_800_000)]
"""Since 1970, up to the year 9998: a clock that is set to it and runs on stays within four digits."""
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The first message in both directions of each link and stream.

    ``now`` is the sender's time, milliseconds since 1970; ``heard`` whether that is the cloud's. ``hops``:
    0 when the sender has a session with the cloud, else links to a node that has one. ``last`` is the highest
    sequence number that the sender knows of the receiver. ``port`` is where a node takes links.
    """

    now: Milliseconds
    heard: bool
    hops: int
    last: int = 0
    port: Port = PORT


class Chain(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A voter's certificate chain (DER), sent before its first ballot."""

    certificates: tuple[bytes, ...]


class Ballots(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Ballots of the sender, and those of others that it passes on."""

    ballots: tuple[SignedBallot, ...]


class Hops(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The sender's number of hops to the cloud changed."""

    hops: int


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A node's address, the port of its kubelet, and its port for links."""

    name: str
    host: str
    kubelet: int = 10250
    port: int = PORT


class Unit(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """From the cloud: the receiver's unit. Without members the receiver probes no peers."""

    name: str
    witnesses: int
    members: tuple[Member, ...]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """From the cloud: asks for a Pong. ``now`` is the cloud's time."""

    number: int
    now: Milliseconds


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """The answer to the Ping of that number."""

    number: int


class Change(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """From the cloud, after a Unit: members that came or changed, and the names of those that went."""

    members: tuple[Member, ...]
    gone: tuple[str, ...]

    def applied(self, unit: Unit) -> Unit:
        """The unit after the change."""
        members = {member.name: member for member in (*unit.members, *self.members)}
        for name in self.gone:
            members.pop(name, None)
        return Unit(unit.name, unit.witnesses, tuple(members[name] for name in sorted(members)))


def difference(before: Unit, after: Unit) -> Change | Unit:
    """What makes one unit of the other; the whole if it is another unit."""
    if (before.name, before.witnesses) != (after.name, after.witnesses):
        return after
    left = {member.name: member for member in before.members}
    members = tuple(member for member in after.members if left.pop(member.name, None) != member)
    return Change(members, tuple(left))


Message = Hello | Chain | Ballots | Hops | Unit | Ping | Pong | Change

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode_message(message: Message) -> bytes:
    """The frame."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


class MessageReader:
    """Decodes a byte stream. Frames of more than ``limit`` bytes are refused at their length field."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Whether an incomplete frame is buffered."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Message]:
        """Returns the messages that are complete. Raises MessageError."""
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
