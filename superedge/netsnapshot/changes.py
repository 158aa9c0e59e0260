"""Which rtnetlink messages tell of a change that a snapshot would show. Pure.

Most messages are about pods, and none of these matters: their veth pairs come and go, and bridges learn.
Source: rtnetlink(7), linux/if_link.h, linux/neighbour.h.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from struct import Struct

from superedge.netsnapshot.facts import OPTIONS, ROUTE_TYPES, Device
from superedge.netsnapshot.listing import (
    IFF_PROMISC,
    IFF_UP,
    NTF_SELF,
    NUD_NOARP,
    NUD_PERMANENT,
    RT_TABLE_LOCAL,
    RTPROT_OF_THE_SYSTEM,
    TABLES_OF_THE_SYSTEM,
)

RTM_NEWLINK, RTM_DELLINK = 16, 17
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29
RTM_NEWRULE, RTM_DELRULE = 32, 33
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 10, 18
IFLA_INFO_KIND = 1
AF_BRIDGE = 7
RTA_OIF, RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA = 4, 5, 9, 18
RT_SCOPE_LINK = 253
RTN_MULTICAST = 5
ATTRIBUTE_TYPE = 0x3FFF
"""The bits of an attribute's type; the other two are flags."""

_HEADER = Struct("=IHHII")
_LINK = Struct("=BxHiII")
_ADDRESS = Struct("=BBBBI")
_NEIGHBOUR = Struct("=BxxxiHBB")
_ROUTE = Struct("=BBBBBBBBI")
_RULE = Struct("=4xB7x")
_ATTRIBUTE = Struct("=HH")


def attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The attributes of a message; ends where they are cut off."""
    at = 0
    while at + 4 <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < 4 or at + size > len(data):
            return
        yield kind & ATTRIBUTE_TYPE, data[at + 4 : at + size]
        at += (size + 3) & ~3


class ChangeFilter:
    """Knows the recorded devices by index, as the last reading of the network found them."""

    def __init__(self) -> None:
        self._devices: dict[int, Device] = {}

    def learn(self, devices: Mapping[int, Device]) -> None:
        """What the network was read to have."""
        self._devices = dict(devices)

    def tells_of_change(self, data: bytes) -> bool:
        """Whether one of the messages in a datagram tells of a change; malformed ones do."""
        view, at = memoryview(data), 0
        changed = False
        while at < len(view):
            if at + 16 > len(view):
                return True
            size, kind, *_ = _HEADER.unpack_from(view, at)
            if size < 16 or at + size > len(view):
                return True
            # Every message is looked at, because those of devices are remembered.
            changed |= self._changes(kind, view[at + 16 : at + size])
            at += (size + 3) & ~3
        return changed

    def _changes(self, kind: int, body: memoryview) -> bool:
        if kind in (RTM_NEWLINK, RTM_DELLINK) and len(body) >= _LINK.size:
            return self._link(kind, body)
        if kind in (RTM_NEWADDR, RTM_DELADDR) and len(body) >= _ADDRESS.size:
            _, _, _, scope, index = _ADDRESS.unpack_from(body)
            return index in self._devices and scope != RT_SCOPE_LINK
        if kind in (RTM_NEWNEIGH, RTM_DELNEIGH) and len(body) >= _NEIGHBOUR.size:
            family, index, state, flags, of_type = _NEIGHBOUR.unpack_from(body)
            lasting = state & (NUD_PERMANENT | NUD_NOARP) and of_type != RTN_MULTICAST
            # PERMANENT in a bridge's database, but for one of a VXLAN, is the address of the device itself.
            own = family == AF_BRIDGE and not (state & NUD_NOARP or flags & NTF_SELF)
            return index in self._devices and bool(lasting) and not own
        if kind in (RTM_NEWROUTE, RTM_DELROUTE) and len(body) >= _ROUTE.size:
            return self._route(body)
        if kind in (RTM_NEWRULE, RTM_DELRULE) and len(body) >= _RULE.size:
            (table,) = _RULE.unpack_from(body)
            return table not in TABLES_OF_THE_SYSTEM
        return False

    def _link(self, kind: int, body: memoryview) -> bool:
        family, _, index, flags, _ = _LINK.unpack_from(body)
        if family:
            return False  # a bridge about one of its ports
        if kind == RTM_DELLINK:
            return self._devices.pop(index, None) is not None
        found = {number: bytes(value) for number, value in attributes(body[_LINK.size :])}
        info = dict(attributes(memoryview(found.get(IFLA_LINKINFO, b""))))
        device_kind = _text(bytes(info.get(IFLA_INFO_KIND, b"")))
        if device_kind not in OPTIONS:
            return False
        device = Device(
            _text(found.get(IFLA_IFNAME, b"")),
            flags & (IFF_UP | IFF_PROMISC),
            _number(found.get(IFLA_MTU, b"")),
            "" if device_kind == "bridge" else found.get(IFLA_ADDRESS, b"").hex(":"),
            _number(found.get(IFLA_MASTER, b"")),
        )
        if self._devices.get(index) == device:
            return False
        self._devices[index] = device
        return True

    def _route(self, body: memoryview) -> bool:
        _, _, _, _, table, protocol, _, of_type, _ = _ROUTE.unpack_from(body)
        if table == RT_TABLE_LOCAL or protocol in RTPROT_OF_THE_SYSTEM or of_type not in ROUTE_TYPES:
            return False
        found = {number: bytes(value) for number, value in attributes(body[_ROUTE.size :])}
        if found.keys() & {RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA} or RTA_OIF not in found:
            return True
        return _number(found[RTA_OIF]) in self._devices


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)
