"""The kernel's network by rtnetlink: what it has, and a plan put into effect. Blocking.

Imported only by processes of their own, because pyroute2 takes 9 MB.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from socket import AddressFamily
from struct import error as StructError  # noqa: N812 - it is a class
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
    Rule,
)
from superedge.netsnapshot.listing import (
    FIB_RULE_INVERT,
    IFA_F_NOPREFIXROUTE,
    IFF_PROMISC,
    IFF_UP,
    NTF_SELF,
    NUD_NOARP,
    NUD_PERMANENT,
    RTNH_F_ONLINK,
    Messages,
    whole,
)
from superedge.netsnapshot.plan import Plan, is_unicast
from superedge.netsnapshot.requests import Refusal, Request, RequestSocket

IFA_F_NODAD = 0x02
NTF_MASTER = 0x04
_TYPE_NUMBERS = {name: number for number, name in ROUTE_TYPES.items()}


def dump(netlink: IPRoute) -> Messages:
    """Everything that is recorded, from a socket of this network namespace. Raises OSError."""
    try:
        return Messages(
            whole(netlink.get_links),
            whole(netlink.get_addr),
            whole(lambda: netlink.fdb("dump")),
            whole(netlink.get_neighbours),
            whole(netlink.get_routes),
            whole(netlink.get_rules),
        )
    except NetlinkError as problem:
        raise OSError(problem.code, f"the kernel's network cannot be listed: {problem}") from problem


class Applier:
    """Puts a plan into effect. One thing that the kernel refuses does not keep the others from being made.

    Nothing that was made since the plan was is changed: the kernel refuses what is there, with EEXIST.
    """

    def __init__(self, netlink: IPRoute) -> None:
        self._netlink = netlink
        self._compiler = IPBatch()
        self._indexes: dict[str, int] = {}

    def create(self, links: Sequence[Link]) -> Iterator[Refusal]:
        """Make devices, each whole with one request, after those that carry or contain it. Raises OSError."""
        waiting = list(links)
        while waiting:
            self._learn_indexes()
            ready = [each for each in waiting if {each.under, each.master} - {""} <= self._indexes.keys()]
            yield from self._send(
                _Step(f"device {each.name}", self._create, each) for each in ready or waiting
            )
            waiting = [each for each in waiting if each not in ready] if ready else []

    def apply(self, plan: Plan) -> Iterator[Refusal]:
        """Make all but devices. Raises OSError."""
        self._learn_indexes()
        yield from self._send(self._on_devices(plan))

    def _send(self, steps: Iterable[_Step]) -> Iterator[Refusal]:
        requests: list[Request] = []
        for what, compile_one, item in steps:
            try:
                self._compiler.reset()
                compile_one(item)
                requests.append(Request(what, bytes(self._compiler.batch)))
            except _NoDevice as problem:
                yield Refusal(what, f"there is no device {problem}", errno.ENODEV)
            except (NetlinkError, OSError, TypeError, ValueError, StructError) as problem:
                yield Refusal(what, str(problem), errno.EINVAL)
        sending = RequestSocket()
        try:
            yield from sending.send(requests)
        finally:
            sending.close()

    def _learn_indexes(self) -> None:
        self._indexes = {
            str(each.get("ifname")): int(each.get("index")) for each in whole(self._netlink.get_links)
        }

    def _on_devices(self, plan: Plan) -> Iterator[_Step]:
        for link in plan.bring_up:
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
        for rule in plan.rules:
            yield _Step(f"rule {rule.priority} for table {rule.table}", self._add_rule, rule)

    def _index(self, name: str) -> int:
        try:
            return self._indexes[name]
        except KeyError:
            raise _NoDevice(name) from None

    def _create(self, link: Link) -> None:
        options: dict[str, Any] = dict(link.options)
        if link.under:
            options["vxlan_link"] = self._index(link.under)
        if link.master:
            options["master"] = self._index(link.master)
        if link.address:
            options["address"] = link.address
        flags = _flags(link)
        self._compiler.link(
            "add", ifname=link.name, kind=link.kind, mtu=link.mtu, flags=flags, change=flags, **options
        )

    def _bring_up(self, link: Link) -> None:
        flags = _flags(link)
        self._compiler.link("set", index=self._index(link.name), flags=flags, change=flags)

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
            command = "add" if is_unicast(entry.lladdr) else "append"
        else:
            more |= {"state": NUD_NOARP, "flags": NTF_MASTER}
            command = "add"
        self._compiler.fdb(command, ifindex=self._index(entry.device), lladdr=entry.lladdr, **more)

    def _add_neighbour(self, neighbour: Neighbour) -> None:
        # Neither exclusive nor replacing: an entry without an address, or with the same, becomes permanent.
        self._compiler.neigh(
            "append",
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
        if route.metrics:
            more["metrics"] = dict(route.metrics)
        if route.origin:
            more["src"] = route.origin
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

    def _add_rule(self, rule: Rule) -> None:
        more: dict[str, Any] = {}
        for name, network in (("src", rule.source), ("dst", rule.destination)):
            if network:
                more[name], _, bits = network.partition("/")
                more[f"{name}_len"] = int(bits)
        if rule.mark or rule.mask:
            more |= {"fwmark": rule.mark, "fwmask": rule.mask}
        names = {"iifname": rule.input, "oifname": rule.output}
        more |= {name: value for name, value in names.items() if value}
        self._compiler.rule(
            "add",
            family=AddressFamily.AF_INET if rule.version == 4 else AddressFamily.AF_INET6,
            priority=rule.priority,
            table=rule.table,
            tos=rule.tos,
            flags=FIB_RULE_INVERT if rule.inverted else 0,
            protocol=rule.protocol,
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


def _flags(link: Link) -> int:
    return IFF_UP * link.up | IFF_PROMISC * link.promiscuous


def _family(address: str) -> AddressFamily:
    return AddressFamily.AF_INET6 if ":" in address else AddressFamily.AF_INET


class _Step(NamedTuple):
    """What is put back, for people; the function that compiles the request; the item that it takes."""

    what: str
    compile: Callable[[Any], None]
    item: object


class _NoDevice(Exception):
    """Its name."""
