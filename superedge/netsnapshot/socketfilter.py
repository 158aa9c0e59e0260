"""A filter in the kernel (classic BPF) for messages in which `superedge.netsnapshot.changes` finds nothing.

Without it each pod that comes or goes wakes the process some forty times. It lets pass what it does not know.
Source: socket(7), SO_ATTACH_FILTER; linux/filter.h, SKF_AD_NLATTR and SKF_AD_NLATTR_NEST load by attribute.
"""

from __future__ import annotations

import socket
import struct
import sys
from array import array

from superedge.netsnapshot.changes import (
    AF_BRIDGE,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    RT_SCOPE_LINK,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTN_MULTICAST,
)
from superedge.netsnapshot.listing import (
    NTF_SELF,
    NUD_NOARP,
    NUD_PERMANENT,
    RT_TABLE_LOCAL,
    RTPROT_OF_THE_SYSTEM,
)

SO_ATTACH_FILTER = 26
LOAD_BYTE, LOAD_WORD, LOAD_WORD_AT_X = 0x30, 0x20, 0x40
LOAD_CONSTANT, LOAD_X, A_TO_X = 0x00, 0x01, 0x07
JUMP_EQUAL, JUMP_SET, RETURN = 0x15, 0x45, 0x06
ATTRIBUTE, NESTED_ATTRIBUTE = 0xFFFFF000 + 12, 0xFFFFF000 + 16
PASS, DROP = "pass", "drop"
VETH = int.from_bytes(b"veth", "big")
HEADER = 16
LOW = 0 if sys.byteorder == "little" else 1
"""Where the low byte of a number of two bytes is."""

Step = tuple[str, int, int, str, str]
"""A label, an operation, its constant, and where a comparison leads to: labels, or "" for the next step."""


def _test(constant: int, equal: str, other: str = "", operation: int = JUMP_EQUAL) -> Step:
    return "", operation, constant, equal, other


def _do(operation: int, constant: int = 0, label: str = "") -> Step:
    return label, operation, constant, "", ""


PROGRAM: tuple[Step, ...] = (
    _do(LOAD_BYTE, 4 + LOW),
    _test(RTM_NEWLINK, "link"),
    _test(RTM_DELLINK, "link"),
    _test(RTM_NEWADDR, "address"),
    _test(RTM_DELADDR, "address"),
    _test(RTM_NEWROUTE, "route"),
    _test(RTM_DELROUTE, "route"),
    _test(RTM_NEWNEIGH, "neighbour"),
    _test(RTM_DELNEIGH, "neighbour", PASS),
    _do(LOAD_BYTE, HEADER + 3, "address"),
    _test(RT_SCOPE_LINK, DROP, PASS),
    _do(LOAD_BYTE, HEADER + 4, "route"),
    _test(RT_TABLE_LOCAL, DROP),
    _do(LOAD_BYTE, HEADER + 5),
    *(_test(protocol, DROP) for protocol in sorted(RTPROT_OF_THE_SYSTEM)),
    _test(0, PASS, PASS),
    _do(LOAD_BYTE, HEADER + 8 + LOW, "neighbour"),
    _test(NUD_PERMANENT | NUD_NOARP, "", DROP, JUMP_SET),
    _do(LOAD_BYTE, HEADER + 11),
    _test(RTN_MULTICAST, DROP),
    _do(LOAD_BYTE, HEADER),
    _test(AF_BRIDGE, "", PASS),
    _do(LOAD_BYTE, HEADER + 10),
    _test(NTF_SELF, PASS, "", JUMP_SET),
    _do(LOAD_BYTE, HEADER + 8 + LOW),
    _test(NUD_NOARP, PASS, DROP, JUMP_SET),
    # A device: not a bridge about one of its ports, and not a veth.
    _do(LOAD_BYTE, HEADER, "link"),
    _test(0, "", DROP),
    _do(LOAD_CONSTANT, HEADER + 16),
    _do(LOAD_X, IFLA_LINKINFO),
    _do(LOAD_WORD, ATTRIBUTE),
    _test(0, DROP),
    _do(LOAD_X, IFLA_INFO_KIND),
    _do(LOAD_WORD, NESTED_ATTRIBUTE),
    _test(0, DROP),
    _do(A_TO_X),
    _do(LOAD_WORD_AT_X, 4),
    _test(VETH, DROP, PASS),
    _do(RETURN, 0xFFFFFFFF, PASS),
    _do(RETURN, 0, DROP),
)


def assemble(steps: tuple[Step, ...]) -> bytes:
    """The program as an array of struct sock_filter."""
    places = {label: at for at, (label, *_) in enumerate(steps) if label}
    done = b""
    for at, (_, operation, constant, equal, other) in enumerate(steps):
        jumps = [places[label] - at - 1 if label else 0 for label in (equal, other)]
        done += struct.pack("=HBBI", operation, *jumps, constant)
    return done


def attach(sock: socket.socket) -> None:
    """Have the kernel drop such messages. Raises OSError."""
    code = array("B", assemble(PROGRAM))
    address, size = code.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", size // 8, address))
