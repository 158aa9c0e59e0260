"""What is said on a stream before its bytes flow: u16 length (big endian) + UTF-8 JSON.

docs/protocol.md specifies each message. Unknown keys are ignored, so that both ends may be newer.
"""

from __future__ import annotations

from struct import Struct
from typing import Generic, Literal, TypeVar

import msgspec

from superedge.errors import SuperEdgeError

LENGTH = Struct(">H")
MAX_MESSAGE = 16 * 1024

T = TypeVar("T", bound=msgspec.Struct)


class MessageError(SuperEdgeError):
    """The peer sent what is no message."""


class DialRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The prologue: what the opener wants on the other side."""

    kind: str
    address: str = ""
    timeout: float = 10.0
    caller: str = ""
    """Who asks, as far as the opener knows; callers share what the node dials at once."""


class ForwardRequest(DialRequest, frozen=True):
    """The prologue between replicas. ``hops`` counts the replicas that passed it on: 1, or it is refused."""

    node: str = ""
    hops: int = 1


class DialAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a prologue."""

    ok: bool
    code: str | None = None
    message: str | None = None


class Hello(msgspec.Struct, frozen=True):
    """First message on the control stream, from the edge. Nothing in it decides routing."""

    version: str
    boot_id: str = ""
    addresses: list[str] = []
    capabilities: list[str] = []
    kind: Literal["control"] = "control"
    session: str = ""
    """Which connections of a node belong together; new for each session."""
    instance: str = ""
    """Which process this is; new at each start."""
    joins: bool = False
    """Whether this is a further connection of that session."""


class Notice(msgspec.Struct, frozen=True):
    """From the cloud on the control stream.

    ``drain`` asks the edge to connect elsewhere; ``replaced`` says that another session took its place.
    """

    notice: str
    message: str = ""


def encode(message: msgspec.Struct) -> bytes:
    """The message on the wire."""
    body = msgspec.json.encode(message)
    if len(body) > MAX_MESSAGE:
        raise MessageError(f"a message of {len(body)} bytes is too long")
    return LENGTH.pack(len(body)) + body


def decode(kind: type[T], body: bytes) -> T:
    """Read a body. Raises MessageError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise MessageError(f"not a {kind.__name__}: {problem}") from problem


class MessageReader(Generic[T]):
    """Cuts messages out of chunks; ``feed`` returns a message's body and what came after it."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """(body, rest) when a message is complete, else None. Raises MessageError."""
        self._buffer += data
        if len(self._buffer) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(self._buffer)
        if not 0 < length <= MAX_MESSAGE:
            raise MessageError(f"a message cannot have {length} bytes")
        end = LENGTH.size + length
        if len(self._buffer) < end:
            return None
        body, rest = self._buffer[LENGTH.size : end], self._buffer[end:]
        self._buffer = b""
        return body, rest
