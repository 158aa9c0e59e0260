"""The kernel's network by rtnetlink: what it has, and a plan put into effect. Blocking.

Imported only by processes of their own, because pyroute2 takes 9 MB.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from socket import AddressFamily
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from superedge.netsnapshot.facts import (
    ROUTE_TYPES,
    Address,
    ForwardingEntry,
    Link,
    Neighbour,
    NextHop,
    Route,
)
from superedge.netsnapshot.listing import (
    IFA_F_NOPREFIXROUTE,
    NTF_SELF,
    NUD_NOARP,
    NUD_PERMANENT,
    RTNH_F_ONLINK,
    Messages,
)
from superedge.netsnapshot.plan import Plan

IFA_F_NODAD = 0x02
NTF_MASTER = 0x04
_TYPE_NUMBERS = {name: number for number, name in ROUTE_TYPES.items()}


def dump(netlink: IPRoute) -> Messages:
    """Everything that is recorded, from a socket of this network namespace. Raises OSError."""
    try:
        return Messages(
            netlink.get_links(),
            netlink.get_addr(),
            netlink.fdb("dump"),
            netlink.get_neighbours(),
            netlink.get_routes(),
        )
    except NetlinkError as problem:
        raise OSError(problem.code, f"the kernel's network cannot be listed: {problem}") from problem


class Applier:
    """Puts a plan into effect. One thing that the kernel refuses does not keep the others from being made."""

    def __init__(self, netlink: IPRoute) -> None:
        self._netlink = netlink
        self._indexes: dict[str, int] = {}

    def apply(self, plan: Plan) -> Iterator[str]:
        """A sentence for each thing that could not be put back."""
        self._indexes = {
            str(each.get("ifname")): int(each.get("index")) for each in self._netlink.get_links()
        }
        for link in plan.create:
            yield from self._try(f"device {link.name}", self._create, link)
        for link in plan.create:
            if link.master and link.name in self._indexes:
                yield from self._try(f"device {link.name} in {link.master}", self._enslave, link)
        for link in (*plan.create, *plan.bring_up):
            if link.up and link.name in self._indexes:
                yield from self._try(f"device {link.name}", self._bring_up, link)
        for address in plan.addresses:
            yield from self._try(f"address {address.address} on {address.device}", self._add_address, address)
        for entry in plan.fdb:
            what = f"forwarding entry {entry.lladdr} on {entry.device}"
            yield from self._try(what, self._add_entry, entry)
        for neighbour in plan.neighbours:
            what = f"neighbour {neighbour.address} on {neighbour.device}"
            yield from self._try(what, self._add_neighbour, neighbour)
        for route in plan.routes:
            yield from self._try(f"route {route.destination}", self._add_route, route)

    def _try(self, what: str, make: Callable[[Any], None], item: object) -> Iterator[str]:
        try:
            make(item)
        except _NoDevice as problem:
            yield f"{what}: there is no device {problem}"
        except (NetlinkError, OSError, ValueError) as problem:
            code = problem.code if isinstance(problem, NetlinkError) else None
            yield f"{what}: the kernel refused it: {os.strerror(code) if code else problem}"

    def _index(self, name: str) -> int:
        try:
            return self._indexes[name]
        except KeyError:
            raise _NoDevice(name) from None

    def _create(self, link: Link) -> None:
        options: dict[str, Any] = dict(link.options)
        if link.under:
            options["vxlan_link"] = self._index(link.under)
        if link.address:
            options["address"] = link.address
        self._netlink.link("add", ifname=link.name, kind=link.kind, mtu=link.mtu, **options)
        (self._indexes[link.name],) = self._netlink.link_lookup(ifname=link.name)

    def _enslave(self, link: Link) -> None:
        self._netlink.link("set", index=self._index(link.name), master=self._index(link.master))

    def _bring_up(self, link: Link) -> None:
        flags = {"flags": 0x100, "change": 0x100} if link.promiscuous else {}
        if flags:
            self._netlink.link("set", index=self._index(link.name), **flags)
        self._netlink.link("set", index=self._index(link.name), state="up")

    def _add_address(self, address: Address) -> None:
        host, _, bits = address.address.partition("/")
        flags = IFA_F_NOPREFIXROUTE if address.no_prefix_route else 0
        if ":" in host:
            flags |= IFA_F_NODAD  # the node's own from before: others are not asked whether they have it
        more: dict[str, Any] = {"flags": flags} if flags else {}
        if address.broadcast:
            more["broadcast"] = address.broadcast
        if address.peer:
            more |= {"local": host, "address": address.peer}
        else:
            more["address"] = host
        self._netlink.addr(
            "add", index=self._index(address.device), prefixlen=int(bits), scope=address.scope, **more
        )

    def _add_entry(self, entry: ForwardingEntry) -> None:
        numbers = {"vni": entry.vni, "port": entry.port, "vlan": entry.vlan}
        more: dict[str, Any] = {key: value for key, value in numbers.items() if value}
        if entry.destination:
            more |= {"dst": entry.destination, "state": NUD_PERMANENT | NUD_NOARP, "flags": NTF_SELF}
            command = "append"
        else:
            more |= {"state": NUD_NOARP, "flags": NTF_MASTER}
            command = "add"
        self._netlink.fdb(command, ifindex=self._index(entry.device), lladdr=entry.lladdr, **more)

    def _add_neighbour(self, neighbour: Neighbour) -> None:
        self._netlink.neigh(
            "replace",
            ifindex=self._index(neighbour.device),
            dst=neighbour.address,
            lladdr=neighbour.lladdr,
            state=NUD_PERMANENT,
        )

    def _add_route(self, route: Route) -> None:
        family = _family(route.destination)
        more: dict[str, Any] = {}
        if route.source:
            more["prefsrc"] = route.source
        if route.metric:
            more["priority"] = route.metric
        if route.mtu:
            more["metrics"] = {"mtu": route.mtu}
        if len(route.hops) > 1:
            more["multipath"] = [{**self._hop(each, family), "hops": each.weight - 1} for each in route.hops]
        elif route.hops:
            more |= self._hop(route.hops[0], family)
        self._netlink.route(
            "add",
            dst=route.destination,
            type=_TYPE_NUMBERS[route.type],
            table=route.table,
            proto=route.protocol,
            scope=route.scope,
            tos=route.tos,
            family=family,
            **more,
        )

    def _hop(self, hop: NextHop, family: AddressFamily) -> dict[str, Any]:
        found: dict[str, Any] = {"oif": self._index(hop.device)}
        if hop.gateway and _family(hop.gateway) is family:
            found["gateway"] = hop.gateway
        elif hop.gateway:
            found["via"] = {"family": _family(hop.gateway), "addr": hop.gateway}
        if hop.onlink:
            found["flags"] = RTNH_F_ONLINK
        return found


def _family(address: str) -> AddressFamily:
    return AddressFamily.AF_INET6 if ":" in address else AddressFamily.AF_INET


class _NoDevice(Exception):
    """Its name."""
