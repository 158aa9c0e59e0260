"""The yamux frame: a 12-byte header; only data frames have a payload.

Source: hashicorp/yamux, spec.md. All numbers are big endian:
version u8 (0), type u8, flags u16, stream id u32, length u32.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from superedge.mux.errors import ProtocolError

HEADER = Struct(">BBHII")
HEADER_SIZE = HEADER.size

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
ALL_FLAGS = SYN | ACK | FIN | RST

NORMAL, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED = range(4)
"""Reason codes in the length field of a go-away frame."""

FRAMES_AT_ONCE = 512
"""Most frames handled in one reactor iteration, so that a peer with small frames does not delay other
peers."""

LARGE_PIECE = 4096
"""Bytes from which a piece of a payload is handed on as a view; to copy fewer costs less than a view."""

_pack = HEADER.pack
_unpack_from = HEADER.unpack_from


def header(kind: int, flags: int, stream: int, length: int) -> bytes:
    """The 12 bytes of a frame's header."""
    return _pack(0, kind, flags, stream, length)


class FrameReader:
    """Cuts a byte stream into frames; payloads are handed on in pieces as they come.

    Args:
        on_frame: called with (type, flags, stream id, length) for each complete header. For a data frame it
            returns whether to deliver the payload; otherwise the payload is skipped.
        on_payload: called with (piece, is last) for each non-empty piece of a payload; a piece of LARGE_PIECE
            bytes or more is a view of what was fed.
        max_payload: longest payload, bytes; a longer one is a ProtocolError.
    """

    def __init__(
        self,
        on_frame: Callable[[int, int, int, int], bool],
        on_payload: Callable[[bytes | memoryview, bool], None],
        max_payload: int,
    ) -> None:
        self._on_frame = on_frame
        self._on_payload = on_payload
        self._max_payload = max_payload
        self._head = b""
        self._left = 0
        self._wanted = False

    def feed(self, data: bytes) -> bytes:
        """Read up to FRAMES_AT_ONCE frames. Return the rest of ``data``, to be fed later.

        Raises ProtocolError; nothing may be fed after that.
        """
        position, end, frames = 0, len(data), 0
        if self._head:
            missing = HEADER_SIZE - len(self._head)
            self._head += data[:missing]
            if len(self._head) < HEADER_SIZE:
                return b""
            head, self._head = self._head, b""
            self._begin(head, 0)
            position = missing
        while position < end:
            if self._left:
                take = min(self._left, end - position)
                self._left -= take
                if self._wanted:
                    source = data if take < LARGE_PIECE else memoryview(data)
                    self._on_payload(source[position : position + take], not self._left)
                position += take
            elif frames == FRAMES_AT_ONCE:
                return data[position:]
            elif end - position < HEADER_SIZE:
                self._head = data[position:]
                break
            else:
                frames += 1
                self._begin(data, position)
                position += HEADER_SIZE
        return b""

    def _begin(self, data: bytes, offset: int) -> None:
        version, kind, flags, stream, length = _unpack_from(data, offset)
        if version != 0:
            raise ProtocolError(f"frame version {version} is not 0")
        if kind > GO_AWAY:
            raise ProtocolError(f"frame type {kind} does not exist")
        if flags & ~ALL_FLAGS:
            raise ProtocolError(f"frame flags {flags:#06x} are not known")
        if (kind >= PING) != (stream == 0):
            raise ProtocolError(f"frame type {kind} cannot be on stream {stream}")
        if kind == DATA:
            if length > self._max_payload:
                raise ProtocolError(f"data frame of {length} bytes is larger than any window")
            self._left = length
            self._wanted = self._on_frame(kind, flags, stream, length)
        else:
            self._on_frame(kind, flags, stream, length)
