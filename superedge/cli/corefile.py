"""CoreDNS's Corefile as ``[local_dns]``, as far as it has a counterpart. Pure.

Source: https://coredns.io/manual/configuration/ and the pages of its plugins.
"""

from __future__ import annotations

import json
import shlex
from ipaddress import ip_address
from typing import Any, NamedTuple

from superedge.errors import SuperEdgeError

_ALWAYS = frozenset({"errors", "health", "ready", "prometheus", "loop", "reload", "loadbalance", "minimal"})
"""What needs no counterpart: it is always so, or the table ``[ops]`` does it."""
_POLICIES = {"sequential": "sequential", "random": "random", "round_robin": "round-robin"}


class CorefileError(SuperEdgeError):
    """The text is no Corefile."""


class Directive(NamedTuple):
    """A plugin in a server block, with the lines of its own block."""

    line: int
    words: list[str]
    block: list[list[str]]


class Server(NamedTuple):
    """A server block: its zones without ports, and its plugins."""

    zones: list[str]
    directives: list[Directive]


class Converted(NamedTuple):
    """The configuration in TOML, and a sentence for each directive without a counterpart."""

    toml: str
    remarks: list[str]


def parse(text: str) -> list[Server]:
    """The server blocks. Raises CorefileError."""
    servers: list[Server] = []
    server: Server | None = None
    directive: Directive | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(raw, comments=True)
        except ValueError as problem:
            raise CorefileError(f"line {number}: {problem}") from None
        if not words:
            continue
        opens = words[-1] == "{"
        if opens:
            words.pop()
        if words == ["}"]:
            if directive is not None:
                directive = None
            elif server is not None:
                server = None
            else:
                raise CorefileError(f"line {number}: a }} that nothing opened")
        elif server is None:
            if not opens:
                raise CorefileError(f"line {number}: a server block begins with its zones and {{")
            server = Server([_zone(word) for word in words], [])
            servers.append(server)
        elif directive is not None:
            if opens:
                raise CorefileError(f"line {number}: a block in a plugin's block")
            directive.block.append(words)
        else:
            found = Directive(number, words, [])
            server.directives.append(found)
            directive = found if opens else None
    if server is not None:
        raise CorefileError("the last block is not closed")
    return servers


def _zone(word: str) -> str:
    """Without scheme, port and comma."""
    word = word.rstrip(",").partition("://")[2] or word.rstrip(",")
    host, _, port = word.rpartition(":")
    return (host if port.isdigit() else word) or "."


def convert(text: str) -> Converted:
    """The whole file. Raises CorefileError."""
    keys: dict[str, object] = {}
    cache: dict[str, object] = {}
    forward: list[dict[str, Any]] = []
    rewrite: list[dict[str, object]] = []
    remarks: list[str] = []
    logs = False
    for server in parse(text):
        for directive in server.directives:
            name, arguments = directive.words[0], directive.words[1:]
            where = f"line {directive.line}: {name}"
            if name == "kubernetes":
                _kubernetes(keys, arguments, directive, remarks, where)
            elif name == "forward":
                found = _forward(server, arguments, directive, remarks, where)
                found["zones"] = _new_zones(forward, found, remarks, where)
                forward.append(found)
            elif name == "cache":
                _cache(cache, arguments, directive, remarks, where)
            elif name == "rewrite":
                _rewrite(rewrite, arguments, directive, remarks, where)
            elif name == "hosts":
                if directive.block:
                    remarks.append(f"{where}: its inline entries belong into a file; `hosts` names files")
                keys["hosts"] = [word for word in arguments if word.startswith("/")] or ["/etc/hosts"]
            elif name == "log":
                logs = True
            elif name == "bind":
                keys["listen"] = [f"[{word}]:53" if ":" in word else f"{word}:53" for word in arguments]
            elif name not in _ALWAYS:
                remarks.append(f"{where} has no counterpart")
    if logs:
        keys["chain"] = ["log", "rewrite", "hosts", "cluster", "cache", "forward"]
    pieces = [_table("[local_dns]", keys)]
    pieces += [
        _table("[[local_dns.forward]]", each)
        for each in forward
        if each["zones"] and (each["upstreams"] or "resolv_conf" in each)
    ]
    pieces += [_table("[[local_dns.rewrite]]", each) for each in rewrite]
    if cache:
        pieces.append(_table("[local_dns.cache]", cache))
    return Converted("\n".join(pieces), remarks)


def _table(header: str, keys: dict[str, object]) -> str:
    # JSON's strings, numbers, booleans and lists are TOML's.
    return "".join([f"{header}\n", *(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())])


def _kubernetes(
    keys: dict[str, object], arguments: list[str], directive: Directive, remarks: list[str], where: str
) -> None:
    zones = [word.rstrip(".") for word in arguments if not word.rstrip(".").endswith(".arpa")]
    if zones:
        keys["cluster_domain"] = zones[0]
    remarks += [f"{where}: zone {zone}: there is one cluster domain" for zone in zones[1:]]
    keys["pod_records"] = False  # CoreDNS's own default
    for option, *values in directive.block:
        if option == "pods" and values[:1] in (["insecure"], ["disabled"]):
            keys["pod_records"] = values[0] == "insecure"
        elif option == "ttl" and len(values) == 1 and values[0].isdigit():
            keys["ttl"] = int(values[0])
        elif option == "kubeconfig":
            remarks.append(f"{where}: {option}: the table [kubernetes] names the kubeconfig")
        elif option != "fallthrough":
            remarks.append(f"{where}: {' '.join([option, *values])} has no counterpart")


def _forward(
    server: Server, arguments: list[str], directive: Directive, remarks: list[str], where: str
) -> dict[str, object]:
    of, *targets = arguments or ["."]
    zones = [zone.rstrip(".") or "." for zone in server.zones] if of == "." else [of.rstrip(".")]
    upstreams: list[str] = []
    found: dict[str, object] = {"zones": zones, "upstreams": upstreams}
    for target in targets:
        if target.startswith("/"):
            found["resolv_conf"] = target
            continue
        host, _, port = target.removeprefix("dns://").rpartition(":")
        host = host.strip("[]") if port.isdigit() and host else target.removeprefix("dns://").strip("[]")
        try:
            ip_address(host)
        except ValueError:
            remarks.append(f"{where}: {target}: name the servers' addresses, not another protocol")
        else:
            upstreams.append(target.removeprefix("dns://"))
    for option, *values in directive.block:
        if option == "policy" and values and values[0] in _POLICIES:
            found["policy"] = _POLICIES[values[0]]
        elif option not in ("max_concurrent", "health_check", "expire", "prefer_udp", "max_fails"):
            remarks.append(f"{where}: {' '.join([option, *values])} has no counterpart")
    if "policy" not in found:
        found["policy"] = "random"  # CoreDNS's own default
    return found


def _new_zones(
    forward: list[dict[str, Any]], found: dict[str, Any], remarks: list[str], where: str
) -> list[str]:
    """The zones that no table before has; another port's server may repeat them."""
    known = {zone for each in forward for zone in each["zones"]}
    zones: list[str] = found["zones"]
    remarks += [f"{where}: zone {zone} is there twice: the first counts" for zone in zones if zone in known]
    return [zone for zone in dict.fromkeys(zones) if zone not in known]


def _cache(
    cache: dict[str, object], arguments: list[str], directive: Directive, remarks: list[str], where: str
) -> None:
    if arguments and arguments[0].isdigit():
        cache["max_ttl"] = int(arguments[0])
        cache["max_negative_ttl"] = int(arguments[0])
    for option, *values in directive.block:
        if option in ("success", "denial") and values and all(value.isdigit() for value in values):
            cache["entries"] = max(int(str(cache.get("entries", 0))), int(values[0]))
            if len(values) > 1:
                cache["max_ttl" if option == "success" else "max_negative_ttl"] = int(values[1])
        elif option == "prefetch":
            cache["prefetch"] = True
        elif option in ("serve_stale", "disable"):
            continue  # always so: the cluster's names are never cached
        else:
            remarks.append(f"{where}: {' '.join([option, *values])} has no counterpart")


def _rewrite(
    rules: list[dict[str, object]], arguments: list[str], directive: Directive, remarks: list[str], where: str
) -> None:
    words = [word for word in arguments if word not in ("stop", "continue")]
    if words[:1] == ["name"] and len(words) >= 3:
        kind = words[1] if words[1] in ("exact", "suffix") and len(words) >= 4 else "exact"
        names = words[2:4] if words[1] == kind else words[1:3]
        if names[0] not in ("prefix", "substring", "regex"):
            old, new = (name.strip(".") or "." for name in names)
            rule: dict[str, object] = {"name": old, "to": new}
            rules.append({**rule, "suffix": True} if kind == "suffix" else rule)
            return
    remarks.append(f"{where} {' '.join(arguments)} has no counterpart")
