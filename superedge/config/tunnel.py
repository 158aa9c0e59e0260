"""Sections ``[tunnel_cloud]`` and ``[tunnel_edge]``; `superedge.config.listeners` has the ways in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from superedge.config.addresses import parse_proxy
from superedge.config.checks import (
    check_address,
    check_dial_rules,
    check_ip,
    check_networks,
    check_not_negative,
    check_positive,
    check_tcp_address,
)
from superedge.config.listeners import ListenerConfig, check_bandwidth

RESERVED_NAMES = ("localhost", "*.localhost", "kubernetes", "kubernetes.default", "*.svc", "*.svc.*")
"""What stands for something else in a cluster, beside the cluster's domain."""
_REPLICA_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")


def is_replica_name(name: str) -> bool:
    """Whether objects and labels in Kubernetes can carry it."""
    return _REPLICA_NAME.fullmatch(name) is not None


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds of one tunnel session."""

    #: Streams open at once on one session.
    streams: int = 4096
    #: Largest receive window of one stream, bytes.
    window: int = 48 * 1024 * 1024
    #: Bytes all receive windows of one session may grow to together; with more than that unsent, every stream
    #: holds little.
    session_buffer: int = 64 * 1024 * 1024
    #: Dials under way at once on one session.
    pending_dials: int = 256
    #: Seconds a stream's opener has to say what it wants.
    prologue_timeout: float = 10.0
    #: Bytes of streams that this end sends a second, at most, on all connections of one node; 0 for no limit.
    bandwidth: int = 0

    def __post_init__(self) -> None:
        """Refuse limits under which nothing works."""
        check_bandwidth(self.bandwidth)
        check_positive(
            streams=self.streams,
            pending_dials=self.pending_dials,
            prologue_timeout=self.prologue_timeout,
        )
        if self.window < 256 * 1024 or self.session_buffer < 256 * 1024:
            raise ValueError("window and session_buffer must be at least 262144")


class ReplicasConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Several cloud ends that act as one. Each has the same table, but for its own name and addresses."""

    #: This replica's name, unlike every other's; by default the host's, which in a pod is the pod's.
    name: str = ""
    #: Namespace of the Leases and ConfigMaps; by default the kubeconfig's or the pod's.
    namespace: str = ""
    #: Address at which other replicas come in.
    listen: str = "0.0.0.0:51002"
    #: Where other replicas dial that, `host:port`; by default this machine's first address and the port of
    #: `listen`.
    advertise: str = ""
    #: Addresses at which callers reach this process's listeners, IPv4, IPv6 or both: what node names resolve
    #: to. By default those of `tunnel_dns`, or else the host of `advertise`.
    addresses: list[str] = []
    #: Certificate shown to other replicas, as server and as client; by default the one that nodes see.
    certificate: Path | None = None
    #: Its private key.
    key: Path | None = None
    #: CAs that sign the replicas' certificates.
    ca: list[Path]
    #: Common names of the replicas' certificates: whoever else comes is refused, whatever CA signed it.
    names: list[str]
    #: Name that a dialled replica's certificate must carry; by default the first of `names`.
    server_name: str = ""
    #: Seconds after which a replica that does not renew its Lease counts as dead.
    lease_duration: int = 15
    #: Seconds in which a process that is told to stop still takes callers, so that those come through who
    #: know its address from a moment ago.
    drain_delay: float = 3.0

    def __post_init__(self) -> None:
        """Check addresses, names and times."""
        check_tcp_address("listen", self.listen)
        if self.advertise:
            check_tcp_address("advertise", self.advertise)
        for address in self.addresses:
            check_ip("addresses", address)
        if self.name and not is_replica_name(self.name):
            raise ValueError(f"name: {self.name!r} is no DNS name: lower case letters, digits, - and .")
        if not self.ca or not self.names:
            raise ValueError("ca and names must name at least one each")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        for name in self.names:
            if name.startswith("system:node:"):
                raise ValueError(f"names: {name!r} is a node's name: no node may act as a replica")
        if self.lease_duration < 3:
            raise ValueError(f"lease_duration: {self.lease_duration} is less than 3")
        check_not_negative(drain_delay=self.drain_delay)


class TunnelCloudConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cloud end: edge nodes dial in, listeners let cloud programs reach them."""

    #: Address that edge nodes dial.
    listen: str = "0.0.0.0:51000"
    #: Certificate shown to edge nodes, PEM.
    certificate: Path
    #: Its private key, PEM.
    key: Path
    #: CAs that sign edge nodes' certificates, PEM.
    ca: list[Path]
    #: Where node names come from: `local` knows the nodes connected to this process, `kubernetes` those
    #: connected to any replica of the table `replicas`.
    registry: Literal["local", "kubernetes"] = "local"
    #: This replica and the others, with `registry = "kubernetes"`.
    replicas: ReplicasConfig | None = None
    #: Which certificates of `ca` make nodes. `kubernetes`: common name `system:node:NAME` and organisation
    #: `system:nodes`, as kubelets have; `any`: also the common name `NAME` alone; `auto`: `kubernetes` where
    #: `ca` has a cluster's CA, which signs users as well, or else `any`.
    node_certificates: Literal["auto", "kubernetes", "any"] = "auto"
    #: File of certificates that are not taken any more, of nodes, callers and replicas: lines `serial HEX` or
    #: `name COMMON-NAME`. A change ends what they have open within seconds.
    denied_certificates: Path | None = None
    #: The cluster's DNS domain: no node has a name below it.
    cluster_domain: str = "cluster.local"
    #: Further names that no node may have, as globs. Never a node's are names that read as an address.
    reserved_names: list[str] = msgspec.field(default_factory=lambda: list(RESERVED_NAMES))
    #: Read the cluster's Node objects (table `kubernetes`): `connect` listeners then take addresses of nodes
    #: and of their pods, within the ranges below, and `tunnel_dns` knows nodes that are not connected.
    node_objects: bool = False
    #: Networks (CIDR) of the nodes' own addresses. An address outside of them leads to no node.
    node_ranges: list[str] = []
    #: Networks (CIDR) of the cluster's pods, as kube-controller-manager's `--cluster-cidr`: a Node's
    #: `podCIDR` counts only within them.
    pod_ranges: list[str] = []
    #: Networks (CIDR) that are no node's and no pod's: the Services', and the API servers' addresses. The one
    #: in the kubeconfig always is.
    reserved_ranges: list[str] = []
    #: Seconds that open streams have to finish when the process is told to stop.
    drain_timeout: float = 30.0
    #: Bounds of one session.
    limits: LimitsConfig = LimitsConfig()
    #: Where cloud programs enter.
    listeners: list[ListenerConfig] = []
    #: Listeners of installed packages: the table `plugin_listeners.KIND` is given to the plugin of that kind.
    plugin_listeners: dict[str, dict[str, Any]] = {}

    def __post_init__(self) -> None:
        """Check the address and that nodes can be verified."""
        check_address("listen", self.listen)
        check_not_negative(drain_timeout=self.drain_timeout)
        check_networks("node_ranges", self.node_ranges)
        check_networks("pod_ranges", self.pod_ranges)
        check_networks("reserved_ranges", self.reserved_ranges)
        if not self.ca:
            raise ValueError("ca must name at least one file")
        if self.registry == "kubernetes" and self.replicas is None:
            raise ValueError('registry = "kubernetes" needs the table replicas')


class TargetTLSConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the node speaks TLS to targets of the cloud's `https` listeners; without it, it refuses to."""

    #: CAs that sign the targets' certificates.
    ca: list[Path]
    #: Certificate shown to targets, and its private key; without them none is shown.
    certificate: Path | None = None
    #: Its private key.
    key: Path | None = None
    #: Name that a target's certificate must carry; empty for the host that is dialled.
    server_name: str = ""

    def __post_init__(self) -> None:
        """A pair is two files, and targets are always verified."""
        if not self.ca:
            raise ValueError("ca must name at least one file")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")


class TunnelEdgeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The edge end: dials the cloud, and from there what `allow` names."""

    #: The cloud's addresses, tried in turn.
    servers: list[str]
    #: Name that the cloud's certificate must carry; by default the host that is dialled.
    server_name: str = ""
    #: HTTP proxy that leads to the servers, `http://host:port` or `http://user:password@host:port`; empty
    #: for none. The proxy resolves the servers' names.
    proxy: str = ""
    #: File whose first line is the `user:password` for the proxy; read at each dial.
    proxy_credentials: Path | None = None
    #: The node's certificate; its common name is the node's name.
    certificate: Path
    #: Its private key.
    key: Path
    #: CAs that sign the cloud's certificate.
    ca: list[Path]
    #: What the cloud may reach: `host:port`, `network/bits:port`, port `*` for any. By default the
    #: kubelet, port 10250 on loopback and on the node's own addresses.
    allow: list[str] = []
    #: Connections of the session, 1 to 16, all to one server. With several, a bulk stream or a lost packet on
    #: one delays no stream of the others.
    connections: int = 1
    #: First delay before dialling again, seconds; it doubles up to `reconnect_maximum`. While a server
    #: refuses at once it stays within 1 second for a minute, and after a session that worked within 2.
    reconnect_initial: float = 0.5
    #: Longest delay before dialling again, seconds.
    reconnect_maximum: float = 60.0
    #: Seconds that open streams have to finish when the process is told to stop.
    #: New ones are served meanwhile.
    drain_timeout: float = 30.0
    #: Kinds of streams that installed packages serve on this node, beside `tcp` and `tls`.
    handlers: list[str] = []
    #: TLS to targets.
    tls: TargetTLSConfig | None = None
    #: Bounds of one session.
    limits: LimitsConfig = LimitsConfig()

    def __post_init__(self) -> None:
        """Check addresses."""
        if not self.servers or not self.ca:
            raise ValueError("servers and ca must name at least one each")
        for server in self.servers:
            check_tcp_address("servers", server)
        check_dial_rules("allow", self.allow)
        if not 1 <= self.connections <= 16:
            raise ValueError(f"connections: {self.connections} is not 1 to 16")
        check_positive(reconnect_initial=self.reconnect_initial)
        check_not_negative(drain_timeout=self.drain_timeout)
        if not self.reconnect_maximum >= self.reconnect_initial:
            raise ValueError(f"reconnect_maximum: {self.reconnect_maximum} is less than reconnect_initial")
        if self.proxy and parse_proxy(self.proxy)[1] and self.proxy_credentials is not None:
            raise ValueError("proxy holds a password, and proxy_credentials names another: keep one")
