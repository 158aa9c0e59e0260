"""A plan for people, as commands of iproute2 that would do the same. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from superedge.netsnapshot.facts import Address, ForwardingEntry, Link, Neighbour, Route, Rule
from superedge.netsnapshot.plan import Plan, describe_way

RT_TABLE_MAIN = 254
VXLAN_NAMES = {
    "limit": "maxaddress",
    "label": "flowlabel",
    "local6": "local",
    "group6": "group",
    "port": "dstport",
}
VXLAN_SWITCHES = {
    "collect_metadata": "external",
    "learning": "learning",
    "udp_csum": "udpcsum",
    "udp_zero_csum6_rx": "udp6zerocsumrx",
    "udp_zero_csum6_tx": "udp6zerocsumtx",
} | {name: name for name in ("gbp", "l2miss", "l3miss", "proxy", "rsc")}
"""Options of a VXLAN that are called otherwise, and those that are words with or without ``no``."""
METRICS = {"cc_algo": "congctl"}
LOCKS = ("", "", "mtu", "window", "rtt", "rttvar", "ssthresh", "cwnd", "advmss", "reordering", "hoplimit")
"""What the bits of the metric ``lock`` are about."""


def commands(plan: Plan) -> Iterator[str]:
    """One for each thing that the plan has."""
    for link in plan.create:
        yield f"ip link add {link.name}{_of_link(link)}"
        if link.master:
            yield f"ip link set {link.name} master {link.master}"
    for link in (*plan.create, *plan.bring_up):
        if link.up:
            yield f"ip link set {link.name}{' promisc on' if link.promiscuous else ''} up"
    for address in plan.addresses:
        yield f"ip address add {_address(address)}"
    for entry in plan.fdb:
        yield f"bridge fdb append {entry.lladdr} dev {entry.device}{_place(entry)}"
    for neighbour in plan.neighbours:
        yield f"ip neighbour add {_neighbour(neighbour)}"
    for route in plan.routes:
        kind = f"{route.type} " if route.type != "unicast" else ""
        yield f"ip route add {kind}{route.destination}{_route(route)}"
    for rule in plan.rules:
        yield f"ip {'-6 ' if rule.version == 6 else ''}rule add{_selector(rule)} lookup {rule.table}"
    for path in plan.files:
        yield f"write {path}"


def _words(**values: object) -> str:
    """Each that there is, behind its name."""
    return "".join(f" {name.rstrip('_')} {value}" for name, value in values.items() if value)


def _of_link(link: Link) -> str:
    options = "".join(_option(link.kind, name, value) for name, value in link.options.items())
    return f"{_words(address=link.address, mtu=link.mtu, type=link.kind)}{options}{_words(dev=link.under)}"


def _option(kind: str, key: str, value: int | str) -> str:
    name = key.partition("_")[2]
    if kind == "vxlan" and name in VXLAN_SWITCHES:
        return f" {'' if value else 'no'}{VXLAN_SWITCHES[name]}"
    if key == "vxlan_df":
        return f" df {('unset', 'set', 'inherit')[int(value)]}"
    return f" {VXLAN_NAMES.get(name, name) if kind == 'vxlan' else name} {value}"


def _address(address: Address) -> str:
    host, _, bits = address.address.partition("/")
    text = f"{host} peer {address.peer}/{bits}" if address.peer else address.address
    flags = " noprefixroute" * address.no_prefix_route + " nodad" * (":" in host)
    return f"{text}{_words(broadcast=address.broadcast, dev=address.device, scope=address.scope)}{flags}"


def _place(entry: ForwardingEntry) -> str:
    if entry.destination:
        return f"{_words(dst=entry.destination, port=entry.port, vni=entry.vni)} self"
    return f" master static{_words(vlan=entry.vlan)}"


def _neighbour(neighbour: Neighbour) -> str:
    words = _words(lladdr=neighbour.lladdr, dev=neighbour.device, nud="permanent")
    return f"{neighbour.address}{words}"


def _route(route: Route) -> str:
    table = route.table if route.table != RT_TABLE_MAIN else ""
    way = f" {describe_way(route)}" if route.hops else ""
    metrics = dict(route.metrics)
    locked = int(metrics.pop("lock", 0))
    locks = {name for bit, name in enumerate(LOCKS) if locked >> bit & 1}
    shown = "".join(
        f" {METRICS.get(name, name)}{' lock' if name in locks else ''} {value}"
        for name, value in metrics.items()
    )
    protocol = route.protocol if route.protocol != 3 else ""
    words = _words(tos=route.tos, table=table, proto=protocol, src=route.source, metric=route.metric)
    return f"{_words(from_=route.origin)}{words}{shown}{way}"


def _selector(rule: Rule) -> str:
    mark = f"{rule.mark:#x}/{rule.mask:#x}" if rule.mark or rule.mask else ""
    words = _words(
        priority=rule.priority,
        from_=rule.source or "all",
        to=rule.destination,
        iif=rule.input,
        oif=rule.output,
        fwmark=mark,
        tos=rule.tos,
    )
    return f"{' not' if rule.inverted else ''}{words}"
