"""The kernel's network by rtnetlink: what it has, and a plan put into effect. Blocking.

Imported only by processes of their own, because pyroute2 takes 9 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from socket import AddressFamily
from typing import Any, NamedTuple

from pyroute2 import IPBatch, IPRoute
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
    IFF_PROMISC,
    NTF_SELF,
    NUD_NOARP,
    NUD_PERMANENT,
    RTNH_F_ONLINK,
    Messages,
)
from superedge.netsnapshot.plan import Plan
from superedge.netsnapshot.requests import Request, RequestSocket

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
        self._compiler = IPBatch()
        self._indexes: dict[str, int] = {}

    def apply(self, plan: Plan) -> Iterator[str]:
        """A sentence for each thing that could not be put back. Raises OSError."""
        sending = RequestSocket()
        try:
            for stage in self._stages(plan):
                self._learn_indexes()
                requests: list[Request] = []
                for what, compile_one, item in stage:
                    try:
                        self._compiler.reset()
                        compile_one(item)
                        requests.append(Request(what, bytes(self._compiler.batch)))
                    except _NoDevice as problem:
                        yield f"{what}: there is no device {problem}"
                    except (NetlinkError, OSError, ValueError) as problem:
                        yield f"{what}: {problem}"
                yield from sending.send(requests)
        finally:
            sending.close()

    def _learn_indexes(self) -> None:
        self._indexes = {
            str(each.get("ifname")): int(each.get("index")) for each in self._netlink.get_links()
        }

    def _stages(self, plan: Plan) -> Iterator[Iterator[_Step]]:
        """Devices that carry others, the others, and what is on them: each stage needs the indexes so far."""
        yield (_Step(f"device {each.name}", self._create, each) for each in plan.create if not each.under)
        yield (_Step(f"device {each.name}", self._create, each) for each in plan.create if each.under)
        yield self._on_devices(plan)

    def _on_devices(self, plan: Plan) -> Iterator[_Step]:
        made = [each for each in plan.create if each.name in self._indexes]
        for link in made:
            if link.master:
                yield _Step(f"device {link.name} in {link.master}", self._enslave, link)
        for link in (*made, *plan.bring_up):
            if link.promiscuous:
                yield _Step(f"device {link.name}", self._make_promiscuous, link)
            if link.up:
                yield _Step(f"device {link.name}", self._bring_up, link)
        for address in plan.addresses:
            yield _Step(f"address {address.address} on {address.device}", self._add_address, address)
        for entry in plan.fdb:
            yield _Step(f"forwarding entry {entry.lladdr} on {entry.device}", self._add_entry, entry)
        for neighbour in plan.neighbours:
            what = f"neighbour {neighbour.address} on {neighbour.device}"
            yield _Step(what, self._add_neighbour, neighbour)
        for route in plan.routes:
            yield _Step(f"route {route.destination}", self._add_route, route)

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
        self._compiler.link("add", ifname=link.name, kind=link.kind, mtu=link.mtu, **options)

    def _enslave(self, link: Link) -> None:
        self._compiler.link("set", index=self._index(link.name), master=self._index(link.master))

    def _make_promiscuous(self, link: Link) -> None:
        self._compiler.link("set", index=self._index(link.name), flags=IFF_PROMISC, change=IFF_PROMISC)

    def _bring_up(self, link: Link) -> None:
        self._compiler.link("set", index=self._index(link.name), state="up")

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
        self._compiler.addr(
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
        self._compiler.fdb(command, ifindex=self._index(entry.device), lladdr=entry.lladdr, **more)

    def _add_neighbour(self, neighbour: Neighbour) -> None:
        self._compiler.neigh(
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
        self._compiler.route(
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


class _Step(NamedTuple):
    """What is put back, for people; the function that compiles the request; the item that it takes."""

    what: str
    compile: Callable[[Any], None]
    item: object


class _NoDevice(Exception):
    """Its name."""
