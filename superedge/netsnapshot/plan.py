"""What a restore does, from what a snapshot has and what the node has already. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface

import msgspec

from superedge.netsnapshot.facts import (
    IDENTITY,
    Address,
    Facts,
    ForwardingEntry,
    Link,
    Neighbour,
    NextHop,
    Route,
    Rule,
)


@dataclass(slots=True)
class Plan:
    """What is put back, in this order, and a sentence for each thing that is left as a live agent made it."""

    create: list[Link] = field(default_factory=list)
    bring_up: list[Link] = field(default_factory=list)
    addresses: list[Address] = field(default_factory=list)
    fdb: list[ForwardingEntry] = field(default_factory=list)
    neighbours: list[Neighbour] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    there: int = 0
    """How many things are there already as the snapshot has them."""
    left: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        devices = len(self.create) + len(self.bring_up)
        entries = len(self.addresses) + len(self.fdb) + len(self.neighbours)
        return devices + entries + len(self.routes) + len(self.rules) + len(self.files)


def make_plan(
    wanted: Facts,
    present: Facts,
    files: Mapping[str, str],
    there: Mapping[str, str],
    ipv6: bool = True,
) -> Plan:
    """``present`` is all that the node has; ``there`` is the text of those files that exist.

    Without ``ipv6`` the kernel would refuse what is of IPv6, so that is left.
    """
    possible = wanted if ipv6 else _without_ipv6(wanted)
    plan = _Planner(possible, present).plan(files, there)
    if possible != wanted:
        plan.left.append("IPv6 is disabled on this node, so what is of it is not put back")
    return plan


def _without_ipv6(facts: Facts) -> Facts:
    return msgspec.structs.replace(
        facts,
        addresses=tuple(each for each in facts.addresses if ":" not in each.address),
        neighbours=tuple(each for each in facts.neighbours if ":" not in each.address),
        routes=tuple(
            each
            for each in facts.routes
            if ":" not in each.destination and not any(":" in hop.gateway for hop in each.hops)
        ),
        rules=tuple(each for each in facts.rules if each.version == 4),
    )


class _Planner:
    def __init__(self, wanted: Facts, present: Facts) -> None:
        self._wanted = wanted
        self._present = present
        self._links = {each.name: each for each in present.links}
        self._foreign: set[str] = set()
        self._lacking: list[tuple[str, IPv4Network | IPv6Network]] = []
        self._plan = Plan()

    def plan(self, files: Mapping[str, str], there: Mapping[str, str]) -> Plan:
        self._plan_links()
        self._plan_addresses()
        self._plan_fdb()
        self._plan_neighbours()
        self._plan_routes()
        self._plan_rules()
        for path, text in files.items():
            if path not in there:
                self._plan.files[path] = text
            elif there[path] == text:
                self._plan.there += 1
            else:
                self._plan.left.append(f"{path} has another content")
        return self._plan

    def _plan_links(self) -> None:
        # A VXLAN may be the port of a bridge or run over a dummy device, so it comes last.
        for link in sorted(self._wanted.links, key=lambda each: each.kind == "vxlan"):
            found = self._links.get(link.name)
            if found is None:
                self._plan.create.append(link)
            elif difference := _difference(link, found):
                self._foreign.add(link.name)
                self._plan.left.append(f"device {link.name} is there with {difference}")
            elif link.up and not found.up:
                self._plan.bring_up.append(link)
            else:
                self._plan.there += 1

    def _plan_addresses(self) -> None:
        own = {(each.device, each.address) for each in self._wanted.addresses}
        others = {
            (each.device, ip_interface(each.address).version): each.address
            for each in self._present.addresses
            if (each.device, each.address) not in own and not ip_interface(each.address).is_link_local
        }
        present = {(each.device, each.address) for each in self._present.addresses}
        hosts = {_host(each): each.device for each in self._present.addresses}
        twice = {(each.device, _host(each)) for each in self._wanted.addresses}
        for each in self._wanted.addresses:
            if each.device in self._foreign:
                continue
            holder = hosts.get(_host(each))
            if (each.device, each.address) in present:
                self._plan.there += 1
            elif other := others.get((each.device, ip_interface(each.address).version)):
                self._plan.left.append(f"device {each.device} has the address {other}, not {each.address}")
                self._lacking.append((each.device, ip_interface(each.address).network))
            elif holder is not None and (holder, _host(each)) not in twice:
                self._plan.left.append(f"address {each.address} is on device {holder}, not {each.device}")
                self._lacking.append((each.device, ip_interface(each.address).network))
            else:
                self._plan.addresses.append(each)

    def _plan_fdb(self) -> None:
        entries = set(self._present.fdb)
        present = {(each.device, each.lladdr, each.vlan): each for each in self._present.fdb}
        for each in self._wanted.fdb:
            if each.device in self._foreign:
                continue
            if each in entries:
                self._plan.there += 1
            elif (other := present.get((each.device, each.lladdr, each.vlan))) and is_unicast(each.lladdr):
                self._plan.left.append(
                    f"{each.lladdr} on {each.device} leads to {other.destination}, not {each.destination}"
                )
            else:
                self._plan.fdb.append(each)

    def _plan_neighbours(self) -> None:
        present = {(each.device, each.address): each.lladdr for each in self._present.neighbours}
        for each in self._wanted.neighbours:
            if each.device in self._foreign:
                continue
            other = present.get((each.device, each.address))
            if other is None:
                self._plan.neighbours.append(each)
            elif other == each.lladdr:
                self._plan.there += 1
            else:
                self._plan.left.append(
                    f"neighbour {each.address} on {each.device} is {other}, not {each.lladdr}"
                )

    def _plan_routes(self) -> None:
        present = {_key(each): each for each in self._present.routes}
        own = {_key(each) for each in self._wanted.routes}
        others = {_aim(each): each for each in self._present.routes if _key(each) not in own}
        # A route by a gateway that is itself behind a route comes after it.
        for each in sorted(self._wanted.routes, key=lambda each: any(hop.gateway for hop in each.hops)):
            if any(hop.device in self._foreign for hop in each.hops):
                continue
            other = present.get(_key(each))
            if other is None and any(map(self._lacks_address, each.hops)):
                self._plan.left.append(f"route {each.destination} needs an address that is not put back")
            elif other is None and (rival := others.get(_aim(each))):
                self._plan.left.append(
                    f"route {each.destination} is there with the metric {rival.metric}, not {each.metric}"
                )
            elif other is None:
                self._plan.routes.append(each)
            elif (other.type, other.hops) == (each.type, each.hops):
                self._plan.there += 1
            else:
                self._plan.left.append(
                    f"route {each.destination} is there by another way: {describe_way(other)}"
                )

    def _plan_rules(self) -> None:
        present = {msgspec.structs.replace(each, protocol=0) for each in self._present.rules}
        for each in self._wanted.rules:
            if {each.input, each.output} & self._foreign:
                continue
            if msgspec.structs.replace(each, protocol=0) in present:
                self._plan.there += 1
            else:
                self._plan.rules.append(each)

    def _lacks_address(self, hop: NextHop) -> bool:
        """Whether the gateway is in the network of an address that is not put back."""
        return bool(hop.gateway) and any(
            hop.device == device and ip_address(hop.gateway) in network for device, network in self._lacking
        )


def _host(address: Address) -> str:
    return address.address.partition("/")[0]


def _aim(route: Route) -> tuple[object, ...]:
    """Which packets a route is for."""
    return route.destination, route.origin, route.table, route.tos


def _key(route: Route) -> tuple[object, ...]:
    return *_aim(route), route.metric


def is_unicast(lladdr: str) -> bool:
    """Whether an address of the link layer is one station's; a VXLAN floods what has the address of zeros."""
    return not int(lladdr[:2], 16) & 1 and lladdr != "00:00:00:00:00:00"


def _difference(wanted: Link, found: Link) -> str:
    """Why a device is another one than that of the snapshot; empty when it is the same."""
    if found.kind != wanted.kind:
        return f"kind {found.kind or 'hardware'}, not {wanted.kind}"
    for name in IDENTITY:
        one, other = found.options.get(name), wanted.options.get(name)
        if one != other:
            return f"{name} {one}, not {other}"
    if found.kind == "vxlan":
        if found.under != wanted.under:
            return f"packets carried by {found.under or 'any device'}, not {wanted.under or 'any device'}"
        if found.address != wanted.address:
            return f"address {found.address}, not {wanted.address}"
    return ""


def describe_way(route: Route) -> str:
    """Where a route leads to, in the words of iproute2."""
    if not route.hops:
        return route.type
    if len(route.hops) == 1:
        return describe_hop(route.hops[0])
    return " ".join(f"nexthop {describe_hop(each)} weight {each.weight}" for each in route.hops)


def describe_hop(hop: NextHop) -> str:
    """One way of a route."""
    family = "inet6 " if ":" in hop.gateway else ""
    via = f"via {family}{hop.gateway} " if hop.gateway else ""
    return f"{via}dev {hop.device}{' onlink' if hop.onlink else ''}"
