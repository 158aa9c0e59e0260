"""The network of a node as records: devices, addresses, forwarding entries, neighbours, routes, rules. Pure.

Names and units are rtnetlink's (rtnetlink(7), linux/if_link.h, linux/neighbour.h, linux/rtnetlink.h). Devices
are called by their names, because their indexes change with each boot.
"""

from __future__ import annotations

import msgspec

OPTIONS: dict[str, dict[str, int | str]] = {
    "bridge": {
        "br_ageing_time": 30000,
        "br_forward_delay": 1500,
        "br_group_fwd_mask": 0,
        "br_hello_time": 200,
        "br_max_age": 2000,
        "br_mcast_querier": 0,
        "br_mcast_router": 1,
        "br_mcast_snooping": 1,
        "br_nf_call_arptables": 0,
        "br_nf_call_ip6tables": 0,
        "br_nf_call_iptables": 0,
        "br_priority": 32768,
        "br_stp_state": 0,
        "br_vlan_default_pvid": 1,
        "br_vlan_filtering": 0,
    },
    "vxlan": {
        "vxlan_ageing": 300,
        "vxlan_collect_metadata": 0,
        "vxlan_df": 0,
        "vxlan_gbp": 0,
        "vxlan_group": "",
        "vxlan_group6": "",
        "vxlan_id": "",
        "vxlan_l2miss": 0,
        "vxlan_l3miss": 0,
        "vxlan_label": 0,
        "vxlan_learning": 1,
        "vxlan_limit": 0,
        "vxlan_local": "",
        "vxlan_local6": "",
        "vxlan_port": "",
        "vxlan_proxy": 0,
        "vxlan_rsc": 0,
        "vxlan_tos": 0,
        "vxlan_ttl": 0,
        "vxlan_udp_csum": 1,
        "vxlan_udp_zero_csum6_rx": 0,
        "vxlan_udp_zero_csum6_tx": 0,
    },
    "dummy": {},
}
"""The kinds of devices that are recorded, and the options of each with the kernel's
defaults: IFLA_BR_... and IFLA_VXLAN_..., "" for no default. A default is not recorded, because a kernel
without the feature refuses it."""

IDENTITY = ("vxlan_id", "vxlan_local", "vxlan_local6", "vxlan_port", "vxlan_group", "vxlan_group6")
"""The options that say which network a device belongs to."""

ROUTE_TYPES = {1: "unicast", 6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
"""The types of routes that are recorded, by RTN_... number."""


class Link(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A device; ``under`` is the one that carries its packets, ``master`` the bridge it is a port of.

    ``address`` is empty for a bridge that took one of its ports'. ``options`` are those of `OPTIONS` that
    differ from the default.
    """

    name: str
    kind: str
    mtu: int
    address: str = ""
    up: bool = True
    promiscuous: bool = False
    under: str = ""
    master: str = ""
    options: dict[str, int | str] = {}


class Address(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An address of a device with its prefix length; ``scope`` is RT_SCOPE_..."""

    device: str
    address: str
    broadcast: str = ""
    peer: str = ""
    scope: int = 0
    no_prefix_route: bool = False


class ForwardingEntry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A static entry of a VXLAN's forwarding database, or of a bridge for one of its ports.

    ``destination`` is the VXLAN's peer; without one the entry is the bridge's.
    """

    device: str
    lladdr: str
    destination: str = ""
    vni: int = 0
    port: int = 0
    vlan: int = 0


class Neighbour(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A permanent entry of the ARP or neighbour discovery table."""

    device: str
    address: str
    lladdr: str


class NextHop(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One way of a route; both fields are empty for a route that leads nowhere."""

    device: str = ""
    gateway: str = ""
    onlink: bool = False
    weight: int = 1


class Route(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A route; ``type`` is a value of `ROUTE_TYPES`, ``protocol`` RTPROT_..., ``scope`` RT_SCOPE_...

    ``origin`` is the network that packets are from, if it counts; ``source`` the address that the node's own
    have. ``metrics`` are RTAX_... by name, such as ``mtu``.
    """

    destination: str
    hops: tuple[NextHop, ...]
    type: str = "unicast"
    origin: str = ""
    source: str = ""
    metric: int = 0
    tos: int = 0
    table: int = 254
    protocol: int = 3
    scope: int = 0
    metrics: tuple[tuple[str, int | str], ...] = ()


class Rule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which packets have their routes looked up in ``table``: those of an IP ``version`` that match the rest.

    ``source`` and ``destination`` are networks, ``input`` and ``output`` names of devices.
    """

    priority: int
    table: int
    version: int
    source: str = ""
    destination: str = ""
    input: str = ""
    output: str = ""
    mark: int = 0
    mask: int = 0
    tos: int = 0
    inverted: bool = False
    protocol: int = 3


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The network of a node, each list in an order that does not depend on the kernel's."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    fdb: tuple[ForwardingEntry, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()

    def size(self) -> dict[str, int]:
        """How many there are of each."""
        return {field: len(getattr(self, field)) for field in self.__struct_fields__}


class Device(msgspec.Struct, frozen=True, array_like=True):
    """What a message about a device has that is recorded.

    ``flags`` are IFF_UP and IFF_PROMISC, ``master`` is an index. A bridge has no ``address`` here, because it
    takes that of one of its ports when they change.
    """

    name: str
    flags: int
    mtu: int
    address: str
    master: int
