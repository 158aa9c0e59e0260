"""The protobuf wire format: reads and writes fields without a schema. Pure.

Source: Protocol Buffers documentation, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator

from superedge.kube.errors import DecodeError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, index after it) of the varint at ``at``. Raises DecodeError."""
    value = shift = 0
    try:
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift > 63:
                raise DecodeError("a varint has more than 64 bits")
    except IndexError:
        raise DecodeError("the message ends within a varint") from None


def walk(data: bytes, start: int = 0, end: int = -1) -> Iterator[tuple[int, int, int, int]]:
    """Each field as (number, wire type, start of its value, end of its value). Copies nothing.

    Raises DecodeError when a field exceeds the message.
    """
    at = start
    stop = len(data) if end < 0 else end
    while at < stop:
        tag = data[at]
        if tag < 0x80:
            at += 1
        else:
            tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == BYTES:
            size = data[at] if at < stop else 0x80
            if size < 0x80:
                begin = at + 1
            else:
                size, begin = read_varint(data, at)
            at = begin + size
        elif kind == VARINT:
            begin = at
            _, at = read_varint(data, at)
        elif kind in (FIXED64, FIXED32):
            begin = at
            at += 8 if kind == FIXED64 else 4
        else:
            raise DecodeError(f"wire type {kind} is unknown")
        if at > stop:
            raise DecodeError("the message ends within a field")
        yield tag >> 3, kind, begin, at


def varint(value: int) -> bytes:
    """An encoded varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return b"%b%b%b" % (varint(number << 3 | BYTES), varint(len(value)), value)


def number_field(number: int, value: int) -> bytes:
    """A varint field."""
    return varint(number << 3 | VARINT) + varint(value)
