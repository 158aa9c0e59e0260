"""The tables ``[tunnel_cloud]`` and ``[tunnel_edge]``; `superedge.config.listeners` has the listeners."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from superedge.config.addresses import parse_proxy
from superedge.config.checks import (
    check_address,
    check_dial_rules,
    check_domain,
    check_ip,
    check_networks,
    check_not_empty,
    check_not_negative,
    check_positive,
    check_target,
    check_tcp_address,
)
from superedge.config.listeners import ListenerConfig, check_bandwidth

RESERVED_NAMES = ("localhost", "*.localhost", "kubernetes", "kubernetes.default", "*.svc", "*.svc.*")
"""Names with another meaning in a cluster; the names in the cluster's domain are reserved as well."""
MAX_WINDOW = 0xFFFF_FFFF
"""Bytes of credit that a yamux frame can give."""
MAX_LEASE = 3600
_REPLICA_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")


def is_replica_name(name: str) -> bool:
    """Whether the name is valid in names and labels of Kubernetes objects."""
    return _REPLICA_NAME.fullmatch(name) is not None


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits of one tunnel session."""

    #: Most open streams on one session.
    streams: int = 4096
    #: Largest receive window of one stream, bytes.
    window: int = 64 * 1024 * 1024
    #: Bytes to which all receive windows of one session together may grow. While more bytes than this wait to
    #: be sent, each stream queues only 16 KiB.
    session_buffer: int = 64 * 1024 * 1024
    #: Most pending dials on one session.
    pending_dials: int = 256
    #: Seconds for a new stream's prologue, which names the target, and for a new connection's hello.
    prologue_timeout: float = 10.0
    #: Most bytes a second of stream data that this end sends on all connections of one node; 0 for no limit.
    bandwidth: int = 0

    def __post_init__(self) -> None:
        """Refuse limits that are too low to work."""
        check_bandwidth(self.bandwidth)
        check_positive(
            streams=self.streams,
            pending_dials=self.pending_dials,
            prologue_timeout=self.prologue_timeout,
        )
        if self.window < 256 * 1024 or self.session_buffer < 256 * 1024:
            raise ValueError("window and session_buffer must be at least 262144")
        if self.window > MAX_WINDOW:
            raise ValueError(f"window: {self.window} is more than {MAX_WINDOW}")


class ReplicasConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Several cloud ends that act as one. Each has the same table, except for its name and addresses."""

    #: This replica's unique name; by default the host name, which in a pod is the pod's name.
    name: str = ""
    #: Namespace of the Leases and ConfigMaps; by default that of the kubeconfig or the pod.
    namespace: str = ""
    #: Address on which to listen for other replicas.
    listen: str = "0.0.0.0:51002"
    #: Address at which other replicas dial this one, `host:port`; by default this machine's first address and
    #: the port of `listen`.
    advertise: str = ""
    #: Addresses at which callers reach this process's listeners, IPv4, IPv6 or both. Node names resolve to
    #: them. By default those of `tunnel_dns`, or else the host of `advertise`.
    addresses: list[str] = []
    #: Certificate presented to other replicas, as server and as client; by default the one presented to
    #: nodes.
    certificate: Path | None = None
    #: Its private key.
    key: Path | None = None
    #: CAs that sign the replicas' certificates.
    ca: list[Path]
    #: Common names of the replicas' certificates. Any other certificate is refused, whichever CA signed it.
    names: list[str]
    #: Name for which a dialled replica's certificate must be valid; by default the first of `names`.
    server_name: str = ""
    #: Seconds without a renewal of its Lease after which a replica counts as dead.
    lease_duration: int = 15
    #: Seconds for which a stopping process still accepts callers, because they may have resolved its address
    #: just before.
    drain_delay: float = 3.0

    def __post_init__(self) -> None:
        """Check addresses, names and times."""
        check_tcp_address("listen", self.listen)
        if self.advertise:
            check_target("advertise", self.advertise)
        for address in self.addresses:
            check_ip("addresses", address)
        if self.name and not is_replica_name(self.name):
            raise ValueError(f"name: {self.name!r} is not a DNS name: lower case letters, digits, - and .")
        check_not_empty(ca=self.ca, names=self.names)
        for name in self.names:
            if name.startswith("system:node:"):
                raise ValueError(f"names: {name!r} is a node's name: no node may act as a replica")
        if not 3 <= self.lease_duration <= MAX_LEASE:
            raise ValueError(f"lease_duration: {self.lease_duration} is not 3 to {MAX_LEASE}")
        check_not_negative(drain_delay=self.drain_delay)
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")


class TunnelCloudConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cloud end: edge nodes dial it, and its listeners let programs in the cloud reach the nodes."""

    #: Address that edge nodes dial.
    listen: str = "0.0.0.0:51000"
    #: Certificate presented to edge nodes, PEM.
    certificate: Path
    #: Its private key, PEM.
    key: Path
    #: CAs that sign edge nodes' certificates, PEM.
    ca: list[Path]
    #: Which nodes callers can reach: `local`, the nodes connected to this process; `kubernetes`, the nodes
    #: connected to any replica (table `replicas`).
    registry: Literal["local", "kubernetes"] = "local"
    #: This replica and the others, with `registry = "kubernetes"`.
    replicas: ReplicasConfig | None = None
    #: Which certificates signed by `ca` identify nodes. `kubernetes`: common name `system:node:NAME` and
    #: organisation `system:nodes`, as kubelets have; `any`: also the common name `NAME` alone; `auto`:
    #: `kubernetes` if `ca` contains a cluster's CA, which also signs users, otherwise `any`.
    node_certificates: Literal["auto", "kubernetes", "any"] = "auto"
    #: File of revoked certificates of nodes, callers and replicas, with lines `serial HEX` or `name
    #: COMMON-NAME`. A change of the file closes their open connections within seconds.
    denied_certificates: Path | None = None
    #: The cluster's DNS domain. No node may have a name in it.
    cluster_domain: str = "cluster.local"
    #: Further names that no node may have, as globs. A name that reads as an address is always refused.
    reserved_names: list[str] = msgspec.field(default_factory=lambda: list(RESERVED_NAMES))
    #: Read the cluster's Node objects (table `kubernetes`): `connect` listeners then take addresses of nodes
    #: and of their pods, within the ranges below, and `tunnel_dns` knows nodes that are not connected.
    node_objects: bool = False
    #: Networks (CIDR) of the nodes' own addresses. An address outside them leads to no node.
    node_ranges: list[str] = []
    #: Networks (CIDR) of the cluster's pods, as kube-controller-manager's `--cluster-cidr`: a Node's
    #: `podCIDR` counts only within them.
    pod_ranges: list[str] = []
    #: Networks (CIDR) that belong to no node or pod, such as the Services' and the API servers' addresses.
    #: The address in the kubeconfig is always reserved.
    reserved_ranges: list[str] = []
    #: Seconds for open streams to finish when the process stops.
    drain_timeout: float = 30.0
    #: Limits of one session.
    limits: LimitsConfig = LimitsConfig()
    #: Listeners for callers.
    listeners: list[ListenerConfig] = []
    #: Listeners of installed packages: the plugin of kind KIND gets the table `plugin_listeners.KIND`.
    plugin_listeners: dict[str, dict[str, Any]] = {}

    def __post_init__(self) -> None:
        """Check the address and that nodes can be verified."""
        check_address("listen", self.listen)
        check_not_negative(drain_timeout=self.drain_timeout)
        check_networks("node_ranges", self.node_ranges)
        check_networks("pod_ranges", self.pod_ranges)
        check_networks("reserved_ranges", self.reserved_ranges)
        check_not_empty(ca=self.ca)
        if self.cluster_domain:
            check_domain("cluster_domain", self.cluster_domain)
        if self.registry == "kubernetes" and self.replicas is None:
            raise ValueError('registry = "kubernetes" needs the table replicas')


class TargetTLSConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the node speaks TLS to the targets of the cloud's `https` listeners; without this table, it refuses
    to."""

    #: CAs that sign the targets' certificates.
    ca: list[Path]
    #: Certificate presented to targets; without one, none is presented.
    certificate: Path | None = None
    #: Its private key.
    key: Path | None = None
    #: Name for which a target's certificate must be valid; empty for the dialled host.
    server_name: str = ""

    def __post_init__(self) -> None:
        """A pair is two files, and targets are always verified."""
        check_not_empty(ca=self.ca)
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")


class TunnelEdgeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The edge end: dials the cloud, and dials the targets in `allow` for callers in the cloud."""

    #: The cloud's addresses, tried in turn.
    servers: list[str]
    #: Name for which the cloud's certificate must be valid; by default the dialled host.
    server_name: str = ""
    #: HTTP proxy for the connections to the servers, `http://host:port` or `http://user:password@host:port`;
    #: empty for none. The proxy resolves the servers' names.
    proxy: str = ""
    #: File whose first line is the `user:password` for the proxy; it is read at each dial.
    proxy_credentials: Path | None = None
    #: The node's certificate; its common name is the node's name.
    certificate: Path
    #: Its private key.
    key: Path
    #: CAs that sign the cloud's certificate.
    ca: list[Path]
    #: Targets that the cloud may reach: `host:port` or `network/bits:port`, with port `*` for any. By default
    #: the kubelet: port 10250 on loopback and on the node's own addresses.
    allow: list[str] = []
    #: Connections of the session, 1 to 16, all to one server. With several, a bulk stream or a lost packet on
    #: one connection does not delay the streams on the others.
    connections: int = 1
    #: First delay before dialling again, seconds; it doubles up to `reconnect_maximum`. While a server
    #: refuses at once, the delay is at most 1 second for a minute; after a short session that worked, it is
    #: at most 2 seconds.
    reconnect_initial: float = 0.5
    #: Longest delay before dialling again, seconds.
    reconnect_maximum: float = 60.0
    #: Seconds for open streams to finish when the process stops. New streams are still served in that time.
    drain_timeout: float = 30.0
    #: Kinds of streams that installed packages serve on this node, in addition to `tcp` and `tls`.
    handlers: list[str] = []
    #: TLS to targets.
    tls: TargetTLSConfig | None = None
    #: Limits of one session.
    limits: LimitsConfig = LimitsConfig()

    def __post_init__(self) -> None:
        """Check addresses."""
        check_not_empty(servers=self.servers, ca=self.ca)
        for server in self.servers:
            check_target("servers", server)
        check_dial_rules("allow", self.allow)
        if not 1 <= self.connections <= 16:
            raise ValueError(f"connections: {self.connections} is not 1 to 16")
        check_positive(reconnect_initial=self.reconnect_initial, reconnect_maximum=self.reconnect_maximum)
        check_not_negative(drain_timeout=self.drain_timeout)
        if not self.reconnect_maximum >= self.reconnect_initial:
            raise ValueError(f"reconnect_maximum: {self.reconnect_maximum} is less than reconnect_initial")
        if self.proxy and parse_proxy(self.proxy)[1] and self.proxy_credentials is not None:
            raise ValueError(
                "proxy contains a password, and proxy_credentials names another: use one of them"
            )
