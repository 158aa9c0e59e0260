"""Which netlink messages tell of a change."""

from __future__ import annotations

from struct import pack

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.netsnapshot.changes import ChangeFilter
from superedge.netsnapshot.facts import Device

MAC = bytes.fromhex("4e0000000003")
BRIDGE, VXLAN, VETH, ETH0 = 4, 3, 7, 2
DEVICES = {
    VXLAN: Device("flannel.1", 1, 1450, "4e:00:00:00:00:03", 0),
    BRIDGE: Device("cni0", 1, 1450, "", 0),
}


def attribute(kind: int, value: bytes) -> bytes:
    data = pack("=HH", 4 + len(value), kind) + value
    return data + bytes(-len(data) % 4)


def message(kind: int, body: bytes) -> bytes:
    return pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def link(
    index: int, name: str, kind: str, new: bool = True, mtu: int = 1450, flags: int = 1, family: int = 0
) -> bytes:
    info = attribute(18, attribute(1, kind.encode() + b"\0")) if kind else b""
    body = pack("=BxHiII", family, 1, index, flags, 0) + attribute(3, name.encode() + b"\0")
    body += attribute(4, pack("=I", mtu)) + attribute(1, MAC) + info
    return message(16 if new else 17, body)


def address(index: int, scope: int = 0, new: bool = True) -> bytes:
    return message(20 if new else 21, pack("=BBBBI", 2, 24, 0x80, scope, index) + attribute(1, bytes(4)))


def neighbour(
    index: int, state: int, of_type: int = 1, new: bool = True, family: int = 2, flags: int = 0
) -> bytes:
    return message(28 if new else 29, pack("=BxxxiHBB", family, index, state, flags, of_type))


def route(
    protocol: int = 3, table: int = 254, oif: int = 0, gateway: bool = False, of_type: int = 1
) -> bytes:
    body = pack("=BBBBBBBBI", 2, 24, 0, 0, table, protocol, 0, of_type, 0)
    body += attribute(4, pack("=I", oif)) if oif else b""
    return message(24, body + (attribute(5, bytes(4)) if gateway else b""))


class ChangeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.filter = ChangeFilter()
        self.filter.learn(DEVICES)

    def tells(self, *data: bytes) -> bool:
        return self.filter.tells_of_change(b"".join(data))

    def test_what_pods_do_is_none(self) -> None:
        for name, data in {
            "a veth comes": link(VETH, "veth7", "veth"),
            "a veth goes": link(VETH, "veth7", "veth", new=False),
            "the bridge about its port": link(VETH, "veth7", "", family=7),
            "a device leaves a bridge": link(VXLAN, "flannel.1", "", new=False, family=7),
            "the bridge's carrier": link(BRIDGE, "cni0", "bridge", flags=0x10043 & ~0x100),
            "an address of a veth": address(VETH),
            "a link-local address": address(BRIDGE, scope=253),
            "a pod's address is resolved": neighbour(BRIDGE, 0x02),
            "and forgotten": neighbour(BRIDGE, 0x20, new=False),
            "a multicast group": neighbour(BRIDGE, 0x40, of_type=5),
            "a port's address": neighbour(VETH, 0x80, family=7),
            "the bridge's own, which changes with its ports": neighbour(BRIDGE, 0x80, 0, family=7),
            "a route to a pod": route(oif=VETH),
            "the kernel's route": route(protocol=2, oif=BRIDGE),
            "a lease's route": route(protocol=16, oif=ETH0, gateway=True),
            "a local route": route(table=255, oif=BRIDGE),
            "a rule for the table main": message(32, pack("=4xB7x", 254)),
        }.items():
            self.assertFalse(self.tells(data), name)

    def test_what_an_agent_does_is_one(self) -> None:
        for name, data in {
            "an address": address(BRIDGE),
            "it goes": address(BRIDGE, new=False),
            "a permanent neighbour": neighbour(VXLAN, 0x80),
            "a forwarding entry": neighbour(VXLAN, 0xC0, family=7, flags=2),
            "it goes, too": neighbour(VXLAN, 0xC0, new=False, family=7, flags=2),
            "flannel's": neighbour(VXLAN, 0x80, 0, family=7, flags=2),
            "one of the bridge": neighbour(VXLAN, 0x40, 0, family=7),
            "a route over a device of ours": route(oif=VXLAN),
            "a route by a gateway": route(oif=ETH0, gateway=True),
            "a blackhole": route(of_type=6),
            "a rule": message(32, pack("=4xB7x", 100)),
            "it goes, as well": message(33, pack("=4xB7x", 252)),
        }.items():
            self.assertTrue(self.tells(data), name)

    def test_a_device_that_comes_changes_and_goes(self) -> None:
        self.assertFalse(self.tells(link(VXLAN, "flannel.1", "vxlan")))
        for data in (
            link(VXLAN, "flannel.1", "vxlan", mtu=1400),
            link(VXLAN, "flannel.1", "vxlan", flags=0),
            link(VXLAN, "flannel.1", "vxlan", new=False),
            link(VXLAN, "flannel.1", "vxlan"),
            link(9, "br0", "bridge"),
        ):
            self.assertTrue(self.tells(data))
            self.assertFalse(self.tells(data), "it is known by now")

    def test_an_index_that_is_used_again(self) -> None:
        self.assertTrue(self.tells(link(VXLAN, "flannel.1", "vxlan", new=False)))
        self.assertFalse(self.tells(link(VXLAN, "veth9", "veth"), address(VXLAN)))

    def test_several_in_a_datagram(self) -> None:
        quiet = link(VETH, "veth7", "veth")
        self.assertTrue(self.tells(quiet, address(BRIDGE), quiet))
        self.assertTrue(self.tells(address(BRIDGE), link(9, "br0", "bridge")))
        self.assertFalse(self.tells(link(9, "br0", "bridge")), "it was seen behind the other")

    @settings(max_examples=100)
    @given(st.binary(max_size=64))
    def test_anything_else_is_read_without_an_error(self, data: bytes) -> None:
        self.tells(data)
        self.tells(message(16, data), message(24, data), message(28, data), message(20, data))
