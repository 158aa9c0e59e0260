"""Which of the kernel's devices, addresses, entries and routes are recorded. Pure.

Messages are pyroute2's: mappings with an ``attrs`` list, of which `Message.get` finds one by its short name.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol

from superedge.netsnapshot.facts import (
    OPTIONS,
    ROUTE_TYPES,
    Address,
    Facts,
    ForwardingEntry,
    Link,
    Neighbour,
    NextHop,
    Route,
    Rule,
)

NLM_F_DUMP_INTR = 0x10
TRIES = 10
"""Times that a dump is made during which something changes."""
IFF_UP, IFF_PROMISC = 0x1, 0x100
IFA_F_PERMANENT, IFA_F_NOPREFIXROUTE = 0x80, 0x200
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80
NTF_SELF, NTF_PROXY = 0x2, 0x8
RTNH_F_ONLINK = 0x4
RT_TABLE_LOCAL = 255
TABLES_OF_THE_SYSTEM = frozenset((0, 253, 254, RT_TABLE_LOCAL))
"""None, default, main, local: every node has rules that lead to these."""
FR_ACT_TO_TBL, FIB_RULE_INVERT = 1, 2
NO_ADDRESS = "00:00:00:00:00:00"
"""The address of a bridge whose last port has left."""
RTPROT_OF_THE_SYSTEM = frozenset((1, 2, 9, 16))
"""Redirects, the kernel, router advertisements, DHCP: what makes these makes them again."""
PORTS_OF_GUESTS = frozenset(("veth", "tun", "macvtap", "ipvtap", "vcan"))
"""Kinds of bridge ports that lead to a pod or a virtual machine."""
TUNNELS = frozenset(
    ("erspan", "geneve", "gre", "gretap", "ip6gre", "ip6gretap", "ip6tnl", "ipip", "sit", "vti", "vti6")
)
"""Kinds of devices that an agent makes together with the routes over them."""
RULE_ATTRIBUTES = frozenset(
    f"FRA_{name}"
    for name in (
        "DST",
        "FWMARK",
        "FWMASK",
        "IIFNAME",
        "OIFNAME",
        "PAD",
        "PRIORITY",
        "PROTOCOL",
        "SRC",
        "TABLE",
    )
) | {"FRA_SUPPRESS_PREFIXLEN"}
"""What a rule that is recorded may have. The kernel says SUPPRESS_PREFIXLEN of every rule."""
NOT_SUPPRESSED = 0xFFFFFFFF


class Message(Protocol):
    """A netlink message or a nested attribute."""

    def get(self, name: str, default: Any = None) -> Any:
        """A header field or attribute."""

    def __getitem__(self, name: str) -> Any:
        """A header field, or all attributes as ``attrs``."""


class Messages:
    """All of one dump each."""

    def __init__(
        self,
        links: Iterable[Message],
        addresses: Iterable[Message] = (),
        fdb: Iterable[Message] = (),
        neighbours: Iterable[Message] = (),
        routes: Iterable[Message] = (),
        rules: Iterable[Message] = (),
    ) -> None:
        self.links = list(links)
        self.addresses = list(addresses)
        self.fdb = list(fdb)
        self.neighbours = list(neighbours)
        self.routes = list(routes)
        self.rules = list(rules)


def whole(read: Callable[[], Iterable[Any]]) -> list[Any]:
    """The messages of one dump. Raises OSError when it changes all the time.

    The kernel marks a dump during which something came or went, such as a pod's device: others may lack.
    """
    for _ in range(TRIES):
        found = list(read())
        if not any(each["header"]["flags"] & NLM_F_DUMP_INTR for each in found):
            return found
    raise OSError(errno.EAGAIN, f"it changed during each of {TRIES} readings")


def kind_of(link: Message) -> str:
    """The kind of a device, such as ``bridge``; empty for hardware and loopback."""
    info = link.get("linkinfo")
    return str(info.get("kind") or "") if info is not None else ""


def read_facts(messages: Messages, exclude: Sequence[str]) -> Facts:
    """What is recorded of a node, without the devices whose names match a pattern of ``exclude``.

    What belongs to pods is left out: the ends of their veth pairs, and everything on these. So are
    bridges with a port of the machine's own network.
    """
    recorded = {
        each.get("index"): each
        for each in messages.links
        if kind_of(each) in OPTIONS and _may_be_recorded(each.get("ifname"), exclude)
    }
    for port in messages.links:
        guest = kind_of(port) in PORTS_OF_GUESTS or port.get("index") in recorded
        if not guest:
            recorded.pop(port.get("master"), None)
    return _Reader(messages, recorded, False).facts()


def _may_be_recorded(name: str | bytes, exclude: Sequence[str]) -> bool:
    """Names are bytes when they are not UTF-8, and then have no place in JSON."""
    return isinstance(name, str) and not any(fnmatchcase(name, each) for each in exclude)


def read_all(messages: Messages) -> Facts:
    """What a node has, recorded or not, but for neighbours that are not permanent and the table local."""
    return _Reader(messages, {each.get("index"): each for each in messages.links}, True).facts()


class _Reader:
    def __init__(self, messages: Messages, recorded: Mapping[int, Message], everything: bool) -> None:
        self._messages = messages
        self._names = {each.get("index"): str(each.get("ifname")) for each in messages.links}
        self._recorded = recorded
        self._everything = everything
        self._of_ports = {(each.get("master"), each.get("address")) for each in messages.links}
        self._own = {str(each.get("local") or each.get("address")) for each in messages.addresses}
        self._tunnels = {each.get("index") for each in messages.links if kind_of(each) in TUNNELS}

    def facts(self) -> Facts:
        messages = self._messages
        fdb = filter(None, map(self._entry, messages.fdb))
        routes = set(filter(None, map(self._route, messages.routes)))
        tables = {each.table for each in routes}
        rules = {
            each
            for each in filter(None, map(_rule, messages.rules))
            if self._everything or each.table in tables - TABLES_OF_THE_SYSTEM
        }
        return Facts(
            tuple(sorted(map(self._link, self._recorded.values()), key=lambda each: each.name)),
            tuple(sorted(filter(None, map(self._address, messages.addresses)), key=repr)),
            tuple(sorted(fdb, key=repr)),
            tuple(sorted(filter(None, map(self._neighbour, messages.neighbours)), key=repr)),
            tuple(sorted(routes, key=repr)),
            tuple(sorted(rules, key=repr)),
        )

    def _link(self, message: Message) -> Link:
        kind = kind_of(message)
        data = message.get("linkinfo").get("data") if kind else None
        options = {}
        for name, default in OPTIONS.get(kind, {}).items():
            value = data.get(name) if data is not None else None
            if isinstance(value, int | str) and value != default:
                # Options without a value, such as vxlan_gbp, are True.
                options[name] = int(value) if isinstance(value, bool) else value
        under = data.get("vxlan_link") if kind == "vxlan" and data is not None else None
        master = message.get("master")
        address = str(message.get("address") or "")
        taken = (message.get("index"), address) in self._of_ports
        flags = int(message.get("flags"))
        return Link(
            name=str(message.get("ifname")),
            kind=kind,
            mtu=int(message.get("mtu")),
            address="" if taken or address == NO_ADDRESS else address,
            up=bool(flags & IFF_UP),
            promiscuous=bool(flags & IFF_PROMISC),
            under=self._names.get(under, "") if under else "",
            master=self._names[master] if master in self._recorded else "",
            options=options,
        )

    def _address(self, message: Message) -> Address | None:
        flags = int(message.get("flags") or message.get("family_flags") or 0)
        if (
            message.get("index") not in self._recorded
            or not flags & IFA_F_PERMANENT
            or str(message.get("address")).startswith("fe80:")
        ):
            return None
        remote, local = str(message.get("address")), str(message.get("local") or message.get("address"))
        return Address(
            device=self._names[message.get("index")],
            address=f"{local}/{message.get('prefixlen')}",
            broadcast=str(message.get("broadcast") or ""),
            peer=remote if remote != local else "",
            scope=int(message.get("scope")),
            no_prefix_route=bool(flags & IFA_F_NOPREFIXROUTE),
        )

    def _entry(self, message: Message) -> ForwardingEntry | None:
        index, state, flags = message.get("ifindex"), int(message.get("state")), int(message.get("flags"))
        destination = str(message.get("dst") or "")
        of_vxlan = bool(flags & NTF_SELF) and bool(state & (NUD_PERMANENT | NUD_NOARP)) and bool(destination)
        # PERMANENT on a port of a bridge is the port's own address.
        of_bridge = not flags & NTF_SELF and bool(message.get("master")) and state == NUD_NOARP
        if index not in self._recorded or not (of_vxlan or of_bridge):
            return None
        return ForwardingEntry(
            device=self._names[index],
            lladdr=str(message.get("lladdr")),
            destination=destination,
            vni=int(message.get("vni") or 0),
            port=int(message.get("port") or 0),
            vlan=int(message.get("vlan") or 0),
        )

    def _neighbour(self, message: Message) -> Neighbour | None:
        index, lladdr = message.get("ifindex"), message.get("lladdr")
        permanent = int(message.get("state")) & NUD_PERMANENT and not int(message.get("flags")) & NTF_PROXY
        if index not in self._recorded or not permanent or not lladdr:
            return None
        return Neighbour(self._names[index], str(message.get("dst")), str(lladdr))

    def _route(self, message: Message) -> Route | None:
        kind = ROUTE_TYPES.get(int(message.get("type")))
        table = int(message.get("table") or 0)
        protocol = int(message.get("proto"))
        if kind is None or table == RT_TABLE_LOCAL or message.get("encap_type"):
            return None
        if protocol in RTPROT_OF_THE_SYSTEM and not self._everything:
            return None
        hops = self._hops(message) if kind == "unicast" else ()
        if hops is None:
            return None
        four = int(message.get("family")) == 2
        anywhere = "0.0.0.0" if four else "::"
        return Route(
            destination=f"{message.get('dst') or anywhere}/{message.get('dst_len')}",
            hops=hops,
            type=kind,
            origin=_network(message, "src"),
            source=str(message.get("prefsrc") or ""),
            metric=int(message.get("priority") or 0),
            tos=int(message.get("tos") or 0),
            table=table,
            protocol=protocol,
            scope=int(message.get("scope")),
            metrics=_metrics(message.get("metrics")),
        )

    def _hops(self, message: Message) -> tuple[NextHop, ...] | None:
        """The ways of a route; None when it is not for us to keep.

        On a device that is not recorded, only routes to some network by a gateway are kept: they are another
        node's pods, and all else is the machine's own or a pod's. So is a gateway that is the node itself, as
        Cilium has it. A way with an encapsulation is not kept, because without it packets would go astray.
        """
        several = message.get("multipath")
        found = []
        for way in several or (message,):
            index = int(way.get("oif") or 0)
            gateway = str(way.get("gateway") or "")
            if (via := way.get("via")) is not None and not gateway:
                gateway = str(via.get("addr") if hasattr(via, "get") else via)
            by_gateway = gateway and gateway not in self._own and index not in self._tunnels
            ours = index in self._recorded or (by_gateway and message.get("dst_len"))
            if index not in self._names or way.get("encap_type") or not ours:
                return None
            weight = int(way.get("hops") or 0) + 1 if several else 1
            onlink = bool(int(way.get("flags") or 0) & RTNH_F_ONLINK)
            found.append(NextHop(self._names[index], gateway, onlink, weight))
        return tuple(found)


def _network(message: Message, name: str) -> str:
    """The network in the attribute ``name`` of a route or rule; empty for any."""
    bits = int(message.get(f"{name}_len") or 0)
    return f"{message.get(name)}/{bits}" if bits else ""


def _metrics(found: Any) -> tuple[tuple[str, int | str], ...]:
    """RTAX_... by name, in lower case."""
    if found is None:
        return ()
    values = ((str(name).removeprefix("RTAX_").lower(), value) for name, value in found["attrs"])
    return tuple(sorted((name, value) for name, value in values if isinstance(value, int | str) and value))


def _rule(message: Message) -> Rule | None:
    """A rule that looks up a table; None for what is not recorded of rules."""
    names = {str(name) for name, _ in message["attrs"]}
    protocol = int(message.get("protocol") or 0)
    suppressed = message.get("suppress_prefixlen")
    if (
        message.get("action") != FR_ACT_TO_TBL
        or names - RULE_ATTRIBUTES
        or protocol in RTPROT_OF_THE_SYSTEM
        or suppressed not in (None, NOT_SUPPRESSED)
    ):
        return None
    return Rule(
        priority=int(message.get("priority") or 0),
        table=int(message.get("table") or 0),
        version=4 if int(message.get("family")) == 2 else 6,
        source=_network(message, "src"),
        destination=_network(message, "dst"),
        input=str(message.get("iifname") or ""),
        output=str(message.get("oifname") or ""),
        mark=int(message.get("fwmark") or 0),
        mask=int(message.get("fwmask") or 0),
        tos=int(message.get("tos") or 0),
        inverted=bool(int(message.get("flags") or 0) & FIB_RULE_INVERT),
        protocol=protocol,
    )
