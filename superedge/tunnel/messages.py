"""The messages of the tunnel protocol: u16 length (big endian) and UTF-8 JSON.

docs/protocol.md specifies each message. Unknown keys are ignored, so that either end may be newer.
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
    """The peer sent an invalid message."""


class DialRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The prologue of a stream: the target to dial."""

    kind: str
    address: str = ""
    timeout: float = 10.0
    caller: str = ""
    """Identifies the caller, or empty; callers share the node's dial slots."""


class ForwardRequest(DialRequest, frozen=True):
    """The prologue between replicas. ``hops`` counts the replicas that forwarded it; only 1 is accepted."""

    node: str = ""
    hops: int = 1


class DialAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a prologue."""

    ok: bool
    code: str | None = None
    message: str | None = None


class Hello(msgspec.Struct, frozen=True):
    """The first message on the control stream, from the edge. Routing does not depend on it."""

    version: str
    boot_id: str = ""
    addresses: list[str] = []
    capabilities: list[str] = []
    kind: Literal["control"] = "control"
    session: str = ""
    """The session's id, which joins the connections of one session."""
    instance: str = ""
    """The process's id, new at each start."""
    joins: bool = False
    """Whether this is a further connection of the session."""


class Notice(msgspec.Struct, frozen=True):
    """A message from the cloud on the control stream.

    ``drain`` asks the edge to connect elsewhere; ``replaced`` reports that another session replaced this one;
    ``refused`` reports why the cloud ends the connection.
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
    """Reads messages from a byte stream."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The body of a complete message and the bytes behind it; otherwise None. Raises MessageError."""
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
