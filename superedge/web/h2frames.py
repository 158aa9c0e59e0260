"""Encodes and decodes HTTP/2 frames. Pure. Source: RFC 9113 sections 4, 6 and 7."""

from __future__ import annotations

import struct
from enum import IntEnum

from superedge.errors import SuperEdgeError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)

ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

HEADER_TABLE_SIZE = 1
ENABLE_PUSH = 2
MAX_CONCURRENT_STREAMS = 3
INITIAL_WINDOW_SIZE = 4
MAX_FRAME_SIZE = 5
MAX_HEADER_LIST_SIZE = 6

FRAME_SIZE = 16384
"""Maximum bytes of a frame's payload unless its receiver allows more."""
LARGEST_FRAME_SIZE = 0xFF_FFFF
INITIAL_WINDOW = 65535
LARGEST_WINDOW = 0x7FFF_FFFF
LARGEST_STREAM = 0x7FFF_FFFF

HEAD = struct.Struct(">BHBBL")
"""Length (in two parts), type, flags, stream."""
HEAD_SIZE = HEAD.size
_NUMBER = struct.Struct(">L")
_PAIR = struct.Struct(">HL")
_TWO = struct.Struct(">LL")


class Code(IntEnum):
    """Error codes of RST_STREAM and GOAWAY."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFault(SuperEdgeError):
    """A connection error: what the peer sent ends the connection."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class StreamFault(SuperEdgeError):
    """A stream error: what the peer sent ends one stream."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def code_name(code: int) -> str:
    """The name of an error code, or its number when it has none."""
    return Code(code).name if code in Code._value2member_map_ else str(code)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """An encoded frame."""
    size = len(payload)
    return HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_PAIR.pack(key, value) for key, value in values.items()))


def window_update(stream: int, credit: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is for the connection."""
    return frame(WINDOW_UPDATE, 0, stream, _NUMBER.pack(credit))


def rst_stream(stream: int, code: Code) -> bytes:
    """An RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, _NUMBER.pack(code))


def goaway(last: int, code: Code, text: bytes = b"") -> bytes:
    """A GOAWAY frame; ``last`` is the highest stream of the peer that was processed."""
    return frame(GOAWAY, 0, 0, _TWO.pack(last, code) + text)


def header_block(stream: int, block: bytes, end_stream: bool, frame_size: int) -> bytes:
    """A HEADERS frame, and the CONTINUATION frames that the block needs."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= frame_size:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    frames = [frame(HEADERS, flags, stream, block[:frame_size])]
    for at in range(frame_size, len(block), frame_size):
        last = at + frame_size >= len(block)
        frames.append(frame(CONTINUATION, END_HEADERS if last else 0, stream, block[at : at + frame_size]))
    return b"".join(frames)


_ON_STREAMS = frozenset({HEADERS, RST_STREAM, CONTINUATION, PUSH_PROMISE})
_ON_CONNECTION = frozenset({SETTINGS, PING, GOAWAY})


def check_stream(kind: int, stream: int) -> None:
    """Check that a frame other than DATA is on a stream, or on stream 0, as its kind requires.

    Raises ConnectionFault.
    """
    if kind in _ON_STREAMS:
        if not stream:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a frame of a stream on stream 0")
    elif kind in _ON_CONNECTION and stream:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "a frame of the connection on a stream")


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of a DATA or HEADERS frame without padding and priority. Raises ConnectionFault."""
    start, padding = 0, 0
    if flags & PADDED:
        padding, start = (payload[0], 1) if payload else (1, 0)
    if flags & WITH_PRIORITY:
        start += 5
    if start + padding > len(payload):
        raise ConnectionFault(Code.PROTOCOL_ERROR, "the padding is longer than the frame")
    return payload[start : len(payload) - padding]


def number(payload: bytes, kind: str) -> int:
    """The 32-bit number that is a frame's payload. Raises ConnectionFault."""
    if len(payload) != 4:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a {kind} frame of {len(payload)} bytes")
    return int(_NUMBER.unpack(payload)[0])


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The (key, value) pairs of a server's SETTINGS frame, in order. Raises ConnectionFault."""
    if len(payload) % _PAIR.size:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a SETTINGS frame of {len(payload)} bytes")
    found = list(_PAIR.iter_unpack(payload))
    for key, value in found:
        if key == MAX_FRAME_SIZE and not FRAME_SIZE <= value <= LARGEST_FRAME_SIZE:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"SETTINGS with a maximum frame size of {value} bytes")
        if key == ENABLE_PUSH and value:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "SETTINGS of a server that enable push")
    return found


def read_goaway(payload: bytes) -> tuple[int, int, bytes]:
    """(last stream, code, text) of a GOAWAY frame. Raises ConnectionFault."""
    if len(payload) < _TWO.size:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a GOAWAY frame of {len(payload)} bytes")
    last, code = _TWO.unpack_from(payload)
    return last & LARGEST_STREAM, code, payload[_TWO.size :]
