"""Section ``[local_dns]``: the node's own DNS server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from superedge.config.checks import (
    check_domain,
    check_ip,
    check_networks,
    check_not_empty,
    check_not_negative,
    check_positive,
    check_target,
    check_tcp_address,
    check_ttl,
)

_INTERFACE = re.compile(r"[\w.-]{0,15}", re.ASCII)


class ForwardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Servers that are asked for the names of some zones."""

    #: Zones, each with all names below it; "." is every name. The longest one that a name is in counts.
    zones: list[str] = msgspec.field(default_factory=lambda: ["."])
    #: Addresses of the servers, `address:port`; the port may be left out.
    upstreams: list[str] = []
    #: File in the format of /etc/resolv.conf whose nameservers are asked too, behind those of `upstreams`; it
    #: is read again when it changes.
    resolv_conf: Path | None = None
    #: Which is asked first: "sequential", the first that works; "random"; "round-robin".
    policy: Literal["sequential", "random", "round-robin"] = "sequential"
    #: Seconds for each server to answer; after 0.5 seconds the next one is asked as well.
    timeout: float = 2.0

    def __post_init__(self) -> None:
        """Check addresses and times."""
        if not self.upstreams and self.resolv_conf is None:
            raise ValueError("upstreams: must name at least one server, or resolv_conf a file that does")
        for upstream in self.upstreams:
            check_ip("upstreams", check_target("upstreams", upstream, 53).host)
        for zone in self.zones:
            check_domain("zones", zone)
        check_positive(timeout=self.timeout)


class RewriteConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A name, or the end of names, that is replaced in questions."""

    #: The name that clients ask, or with `suffix` the end of it.
    name: str
    #: The name, or end of a name, that is asked instead.
    to: str
    #: Whether the rule is for every name that ends in `name`, and replaces that end.
    suffix: bool = False

    def __post_init__(self) -> None:
        """Check the names."""
        check_domain("name", self.name)
        check_domain("to", self.to)


class CacheConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits of the link `cache`."""

    #: Answers that are kept; beyond, those asked for longest ago give way.
    entries: int = 10_000
    #: Bytes of all answers that are kept.
    max_bytes: int = 33_554_432
    #: Longest life of an answer, seconds.
    max_ttl: int = 3600
    #: Longest life of an answer that there is no such name or record, seconds.
    max_negative_ttl: int = 300
    #: Seconds beyond its life for which an answer is given while no upstream server answers; 0 for never.
    stale: float = 86400.0
    #: Whether an answer that is asked for often is fetched anew before its life ends.
    prefetch: bool = True

    def __post_init__(self) -> None:
        """Check numbers."""
        check_positive(entries=self.entries, max_bytes=self.max_bytes)
        check_ttl(max_ttl=self.max_ttl, max_negative_ttl=self.max_negative_ttl)
        check_not_negative(stale=self.stale)


class LocalDNSConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A DNS server on the node, UDP and TCP, that answers the cluster's names with or without the cloud."""

    #: Addresses of the server, `host:port`; pods reach a link-local one.
    listen: list[str] = msgspec.field(default_factory=lambda: ["169.254.20.10:53"])
    #: Dummy interface that is created for those addresses of `listen` that the machine does not have, and
    #: removed at the end; none when empty. It takes CAP_NET_ADMIN, which is given up afterwards. Where the
    #: kernel has no dummy interfaces, loopback gets the addresses.
    interface: str = ""
    #: Whether another process may listen on the same addresses (SO_REUSEPORT).
    reuse_port: bool = False
    #: The cluster's domain.
    cluster_domain: str = "cluster.local"
    #: Seconds that clients may keep an answer about the cluster.
    ttl: int = 5
    #: Whether `1-2-3-4.NAMESPACE.pod` is answered with the address in it.
    pod_records: bool = True
    #: The links that answer a question, each asking the next one: "rewrite", "hosts", "cluster", "cache",
    #: "forward", "log", and the names of plugins that installed packages bring.
    chain: list[str] = msgspec.field(
        default_factory=lambda: ["rewrite", "hosts", "cluster", "cache", "forward"]
    )
    #: File in which the cluster's names outlive a restart without the cloud. The file beside it with `.cache`
    #: behind its name has the answers that are given while no upstream server answers.
    snapshot: Path = Path("/var/lib/superedge/dns.snapshot")
    #: Networks (CIDR) that may ask; empty for any.
    allow: list[str] = []
    #: Files in the format of /etc/hosts, for the link `hosts`.
    hosts: list[Path] = []
    #: Servers for the link `forward`.
    forward: list[ForwardConfig] = []
    #: Names for the link `rewrite`; the first rule that matches counts.
    rewrite: list[RewriteConfig] = []
    #: Limits of the link `cache`.
    cache: CacheConfig = msgspec.field(default_factory=CacheConfig)
    #: Options of links that installed packages bring: `[local_dns.resolvers.NAME]`.
    resolvers: dict[str, dict[str, Any]] = {}

    def __post_init__(self) -> None:
        """Check addresses, names and times."""
        check_not_empty(listen=self.listen, chain=self.chain)
        for address in self.listen:
            host = check_tcp_address("listen", address, 53).host
            check_ip("listen", host)
        check_domain("cluster_domain", self.cluster_domain)
        if not _INTERFACE.fullmatch(self.interface) or self.interface in (".", ".."):
            raise ValueError(
                f"interface: {self.interface!r} is not the name of an interface: 15 letters or digits"
            )
        for name in self.chain:
            if self.chain.count(name) > 1:
                raise ValueError(f"chain: {name} is there twice")
        for key, there in (("hosts", self.hosts), ("forward", self.forward), ("rewrite", self.rewrite)):
            if there and key not in self.chain:
                raise ValueError(f"chain: {key} is not there, and the section has a value for it")
        for name in self.resolvers:
            if name not in self.chain:
                raise ValueError(f"chain: {name} is not there, and resolvers has options for it")
        zones = [zone.lower().removesuffix(".") for each in self.forward for zone in each.zones]
        for name in zones:
            if zones.count(name) > 1:
                raise ValueError(f"forward.zones: {name or '.'} is there twice")
        own = [check_tcp_address("listen", address, 53) for address in self.listen]
        for each in self.forward:
            for upstream in each.upstreams:
                server = check_target("upstreams", upstream, 53)
                if any(address.takes(server) for address in own):
                    raise ValueError(f"forward.upstreams: {upstream} is this server")
        check_networks("allow", self.allow)
        check_ttl(ttl=self.ttl)
