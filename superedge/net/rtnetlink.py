"""Messages to Linux about its network interfaces and their addresses. Pure.

Source: rtnetlink(7), netlink(7); the numbers are those of linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import AF_INET, AF_INET6
from typing import NamedTuple

ERROR, DONE = 2, 3
"""Types of the messages that end an answer."""
_NEW_LINK, _DEL_LINK, _GET_LINK, _NEW_ADDRESS, _DEL_ADDRESS, _GET_ADDRESS = 16, 17, 18, 20, 21, 22
_REQUEST, _MULTI, _ACK, _EXCLUSIVE, _DUMP, _CREATE = 1, 2, 4, 0x200, 0x300, 0x400
_IF_NAME, _LINK_INFO, _INFO_KIND = 3, 18, 1
_ADDRESS, _LOCAL, _FLAGS = 1, 2, 8
_NO_DUPLICATE_DETECTION = 0x02
_UP = 1

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_OF_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")

IPAddress = IPv4Address | IPv6Address


class Message(NamedTuple):
    """One message of an answer, without its header."""

    kind: int
    more: bool
    """Whether others follow it; the last of them is `DONE`."""
    body: bytes


def new_dummy(name: str) -> bytes:
    """Create a dummy interface; it is an error when there is one of the name."""
    kind = _attribute(_LINK_INFO, _attribute(_INFO_KIND, b"dummy"))
    return _message(_NEW_LINK, _ACK | _CREATE | _EXCLUSIVE, _LINK.pack(0, 0, 0, 0, 0) + _name(name) + kind)


def set_up(index: int) -> bytes:
    """Switch an interface on."""
    return _message(_NEW_LINK, _ACK, _LINK.pack(0, 0, index, _UP, _UP))


def get_link(name: str) -> bytes:
    """Describe an interface."""
    return _message(_GET_LINK, 0, _LINK.pack(0, 0, 0, 0, 0) + _name(name))


def del_link(index: int) -> bytes:
    """Remove an interface."""
    return _message(_DEL_LINK, _ACK, _LINK.pack(0, 0, index, 0, 0))


def new_address(index: int, address: IPAddress) -> bytes:
    """Give an interface an address with its longest prefix, which counts at once."""
    return _message(_NEW_ADDRESS, _ACK | _CREATE | _EXCLUSIVE, _address(index, address))


def del_address(index: int, address: IPAddress) -> bytes:
    """Take an address away."""
    return _message(_DEL_ADDRESS, _ACK, _address(index, address))


def get_addresses() -> bytes:
    """List the addresses of all interfaces."""
    return _message(_GET_ADDRESS, _DUMP, _OF_ADDRESS.pack(0, 0, 0, 0, 0))


def read_messages(data: bytes) -> Iterator[Message]:
    """The messages of a datagram from the kernel."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        yield Message(kind, bool(flags & _MULTI), data[at + _HEADER.size : at + size])
        at += max(_HEADER.size, size + 3 & ~3)


def error_number(message: Message) -> int:
    """The errno of a message of type `ERROR`, 0 for success."""
    return -int(_ERROR.unpack_from(message.body)[0])


def read_link(message: Message) -> tuple[int, str]:
    """The index and kind of an interface; the kind is empty for a device of the hardware, and loopback."""
    index = _LINK.unpack_from(message.body)[2]
    kind = _attributes(_attributes(message.body[_LINK.size :]).get(_LINK_INFO, b"")).get(_INFO_KIND, b"")
    return index, kind.rstrip(b"\0").decode("ascii", "replace")


def read_address(message: Message) -> tuple[int, IPAddress]:
    """The index of the interface that has an address, and the address."""
    index = _OF_ADDRESS.unpack_from(message.body)[4]
    found = _attributes(message.body[_OF_ADDRESS.size :])
    return index, ip_address(found.get(_LOCAL, found.get(_ADDRESS, b"")))


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 1, 0) + body


def _address(index: int, address: IPAddress) -> bytes:
    family = AF_INET if address.version == 4 else AF_INET6
    head = _OF_ADDRESS.pack(family, address.max_prefixlen, 0, 0, index)
    flags = _attribute(_FLAGS, struct.pack("=I", _NO_DUPLICATE_DETECTION)) if address.version == 6 else b""
    return head + _attribute(_LOCAL, address.packed) + _attribute(_ADDRESS, address.packed) + flags


def _name(name: str) -> bytes:
    return _attribute(_IF_NAME, name.encode() + b"\0")


def _attribute(kind: int, data: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        found[kind & 0x3FFF] = data[at + _ATTRIBUTE.size : at + size]
        at += max(_ATTRIBUTE.size, size + 3 & ~3)
    return found
