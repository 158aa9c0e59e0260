"""Table ``[tunnel_dns]``: a DNS server that resolves node names to addresses of the tunnel's cloud end."""

from __future__ import annotations

from typing import Literal

import msgspec

from superedge.config.checks import (
    check_domain,
    check_ip,
    check_networks,
    check_not_empty,
    check_positive,
    check_suffixes,
    check_target,
    check_tcp_address,
    check_ttl,
)


class TunnelDNSConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A DNS server, UDP and TCP: a connected node's name is the address of the process that holds it."""

    #: Addresses of the server, `host:port`.
    listen: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.1:53"])
    #: Addresses at which callers reach this process's listeners, IPv4, IPv6 or both; by default those of
    #: `tunnel_cloud.replicas`, or else this machine's.
    addresses: list[str] = []
    #: Suffixes that may follow a node's name, e.g. `.edge.example`.
    suffixes: list[str] = []
    #: Seconds that a node's answer may be kept.
    ttl: int = 2
    #: The answer for a node that has a Node object but no session, with `tunnel_cloud.node_objects`: its own
    #: `address`, `nxdomain`, `servfail`, or what the upstream servers answer (`forward`).
    unconnected: Literal["address", "nxdomain", "servfail", "forward"] = "address"
    #: ConfigMap, `NAMESPACE/NAME`, that is kept in the format of /etc/hosts under the key `hosts`; none when
    #: empty.
    hosts_configmap: str = ""
    #: Servers to which all other questions are forwarded, tried in turn; empty refuses these questions.
    upstreams: list[str] = []
    #: Zones that only these servers answer, besides `tunnel_cloud.cluster_domain`: no node's name is
    #: answered there.
    upstream_zones: list[str] = []
    #: Seconds for each of these servers to answer.
    timeout: float = 2.0
    #: Networks (CIDR) that may ask; empty for any.
    allow: list[str] = []

    def __post_init__(self) -> None:
        """Check addresses, networks and times."""
        check_not_empty(listen=self.listen)
        if self.hosts_configmap and not all(self.hosts_configmap.partition("/")):
            raise ValueError(f"hosts_configmap: {self.hosts_configmap!r} is not NAMESPACE/NAME")
        own = [check_tcp_address("listen", address, 53) for address in self.listen]
        for upstream in self.upstreams:
            server = check_target("upstreams", upstream, 53)
            check_ip("upstreams", server.host)
            if any(address.takes(server) for address in own):
                raise ValueError(f"upstreams: {upstream} is this server")
        for text in self.addresses:
            check_ip("addresses", text)
        check_networks("allow", self.allow)
        check_suffixes(self.suffixes)
        for zone in self.upstream_zones:
            check_domain("upstream_zones", zone)
        check_ttl(ttl=self.ttl)
        check_positive(timeout=self.timeout)
