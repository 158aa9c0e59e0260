"""A node with flannel and a bridge, as facts and as the kernel's messages."""

from __future__ import annotations

from typing import Any

from superedge.netsnapshot.document import Snapshot
from superedge.netsnapshot.facts import Address, Facts, ForwardingEntry, Link, Neighbour, NextHop, Route
from superedge.netsnapshot.listing import Messages

OPTIONS: dict[str, int | str] = {
    "vxlan_id": 1,
    "vxlan_learning": 0,
    "vxlan_local": "192.0.2.3",
    "vxlan_port": 8472,
}
FLANNEL = Link("flannel.1", "vxlan", 1450, "4e:00:00:00:00:03", under="eth0", options=OPTIONS)
BRIDGE = Link("cni0", "bridge", 1450)
GATEWAY = Address("cni0", "10.244.3.1/24", broadcast="10.244.3.255")
GATEWAY_6 = Address("cni0", "fd00:3::1/64")
VTEP = Address("flannel.1", "10.244.3.0/32")
ENTRY = ForwardingEntry("flannel.1", "4e:00:00:00:00:04", "192.0.2.4")
NEIGHBOUR = Neighbour("flannel.1", "10.244.4.0", "4e:00:00:00:00:04")
ROUTE = Route("10.244.4.0/24", (NextHop("flannel.1", "10.244.4.0", onlink=True),))
ROUTE_6 = Route("fd00:4::/64", (NextHop("cni0", "fd00:3::4"),), metric=1024)
BY_HOST = Route("10.244.5.0/24", (NextHop("eth0", "192.0.2.5"),))
BLACKHOLE = Route("10.244.3.0/26", (), "blackhole", protocol=12)
FACTS = Facts(
    (BRIDGE, FLANNEL),
    (GATEWAY, GATEWAY_6, VTEP),
    (ENTRY,),
    (NEIGHBOUR,),
    (BLACKHOLE, ROUTE, BY_HOST, ROUTE_6),
)
ETH0 = Link("eth0", "", 1500, "52:54:00:00:00:03")
HOST = Facts(
    (ETH0,),
    (Address("eth0", "192.0.2.3/24"),),
    routes=(Route("0.0.0.0/0", (NextHop("eth0", "192.0.2.1"),), protocol=16),),
)
"""What a node has before anything made a network for pods."""
SUBNET_ENV = "/run/flannel/subnet.env"


def snapshot(**changes: Any) -> Snapshot:
    """Of the node edge-3, in an earlier boot."""
    values: dict[str, Any] = {
        "node": "edge-3",
        "boot_id": "earlier",
        "time": 1_800_000_000.0,
        "facts": FACTS,
        "pod_cidrs": ("10.244.3.0/24",),
        "files": {SUBNET_ENV: "FLANNEL_SUBNET=10.244.3.1/24\n"},
    }
    return Snapshot(**(values | changes))


def device(index: int, name: str | bytes, kind: str = "", **fields: Any) -> dict[str, Any]:
    """RTM_NEWLINK."""
    data = fields.pop("data", {})
    info = {"kind": kind, "data": data} if kind else None
    return {"index": index, "ifname": name, "flags": 1, "mtu": 1450, "linkinfo": info} | fields


def messages(**more: list[dict[str, Any]]) -> Messages:
    """What the kernel has for `FACTS`, with what is not recorded."""
    vxlan = {**OPTIONS, "vxlan_link": 2, "vxlan_ageing": 300, "vxlan_udp_csum": 1}
    links = [
        device(1, "lo", flags=9, mtu=65536, address="00:00:00:00:00:00"),
        device(2, "eth0", address=ETH0.address, mtu=1500),
        device(3, "flannel.1", "vxlan", address=FLANNEL.address, data=vxlan),
        device(4, "cni0", "bridge", address="0a:00:00:00:00:07", data={"br_priority": 32768}),
        device(7, "veth7", "veth", address="0a:00:00:00:00:07", master=4),
        device(9, "docker0", "bridge", address="02:42:00:00:00:01"),
    ]
    addresses = [
        address(2, "192.0.2.3", 24),
        address(3, "10.244.3.0", 32),
        address(4, "10.244.3.1", 24, broadcast="10.244.3.255"),
        address(4, "fd00:3::1", 64),
        address(4, "fe80::1", 64, scope=253),
        address(4, "fd00:3::99", 64, flags=0),
        address(7, "10.244.3.1", 32),
        address(9, "172.17.0.1", 16),
    ]
    fdb = [
        {"ifindex": 3, "lladdr": ENTRY.lladdr, "dst": ENTRY.destination, "state": 0xC0, "flags": 2},
        {"ifindex": 3, "lladdr": "4e:00:00:00:00:05", "dst": "192.0.2.5", "state": 0x02, "flags": 2},
        {"ifindex": 7, "lladdr": "0a:00:00:00:00:07", "master": 4, "state": 0x80, "flags": 0},
        {"ifindex": 4, "lladdr": "33:33:00:00:00:01", "state": 0x80, "flags": 2},
    ]
    neighbours = [
        {"ifindex": 3, "dst": "10.244.4.0", "lladdr": NEIGHBOUR.lladdr, "state": 0x80, "flags": 0},
        {"ifindex": 4, "dst": "10.244.3.2", "lladdr": "0a:00:00:00:00:12", "state": 0x02, "flags": 0},
        {"ifindex": 2, "dst": "192.0.2.4", "lladdr": "52:54:00:00:00:04", "state": 0x80, "flags": 0},
    ]
    routes = [
        route("10.244.4.0", 24, oif=3, gateway="10.244.4.0", flags=4),
        route("10.244.5.0", 24, oif=2, gateway="192.0.2.5"),
        route("fd00:4::", 64, family=10, oif=4, gateway="fd00:3::4", priority=1024, flags=16),
        route("10.244.3.0", 26, type=6, proto=12),
        route("10.244.3.0", 24, oif=4, proto=2),
        route(None, 0, oif=2, gateway="192.0.2.1"),
        route("192.0.2.0", 24, oif=2, proto=2),
        route("10.244.3.7", 32, oif=7),
        route("10.244.3.1", 32, oif=4, table=255, type=2),
    ]
    return Messages(
        links + more.get("links", []),
        addresses + more.get("addresses", []),
        fdb + more.get("fdb", []),
        neighbours,
        routes + more.get("routes", []),
        more.get("rules", []),
    )


def address(index: int, text: str, bits: int, **fields: Any) -> dict[str, Any]:
    """RTM_NEWADDR."""
    return {"index": index, "address": text, "prefixlen": bits, "flags": 0x80, "scope": 0} | fields


def rule(table: int, **fields: Any) -> dict[str, Any]:
    """RTM_NEWRULE."""
    header = {"family": 2, "tos": 0, "action": 1, "flags": 0, "src_len": 0, "dst_len": 0}
    found = header | {"protocol": 3, "suppress_prefixlen": 0xFFFFFFFF, "table": table} | fields
    return found | {"attrs": [(f"FRA_{key.upper()}", found[key]) for key in found.keys() - header.keys()]}


def route(destination: str | None, bits: int, **fields: Any) -> dict[str, Any]:
    """RTM_NEWROUTE."""
    found = {
        "family": 2,
        "dst": destination,
        "dst_len": bits,
        "table": 254,
        "proto": 3,
        "scope": 0,
        "type": 1,
    }
    return found | {"flags": 0, "tos": 0} | fields
