"""Sections ``[tunnel_cloud]`` and ``[tunnel_edge]``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from superedge.config.addresses import TCPAddress, parse_address, parse_proxy
from superedge.config.checks import (
    check_address,
    check_ip,
    check_networks,
    check_not_negative,
    check_positive,
    check_tcp_address,
)

LEAST_BANDWIDTH = 16 * 1024
_REPLICA_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")


def is_replica_name(name: str) -> bool:
    """Whether objects and labels in Kubernetes can carry it."""
    return _REPLICA_NAME.fullmatch(name) is not None


def _check_bandwidth(rate: int) -> None:
    if rate and rate < LEAST_BANDWIDTH:
        raise ValueError(f"bandwidth: {rate} is neither 0, for no limit, nor at least {LEAST_BANDWIDTH}")


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds of one tunnel session."""

    #: Streams open at once on one session.
    streams: int = 4096
    #: Largest receive window of one stream, bytes.
    window: int = 16 * 1024 * 1024
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
        _check_bandwidth(self.bandwidth)
        check_positive(
            streams=self.streams,
            pending_dials=self.pending_dials,
            prologue_timeout=self.prologue_timeout,
        )
        if self.window < 256 * 1024 or self.session_buffer < self.window:
            raise ValueError("window must be at least 262144, and session_buffer at least window")


class _Listener(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What every kind of listener has."""

    #: Address of the listener: `host:port`, `[v6]:port` or `unix:/path`.
    listen: str
    #: Networks (CIDR) callers may come from; empty for any.
    allow: list[str] = []
    #: Seconds an edge node has to connect to the target.
    dial_timeout: float = 10.0
    #: Bytes that all callers together send a second, at most, and as many that they receive; 0 for no limit.
    bandwidth: int = 0

    def __post_init__(self) -> None:
        """Check addresses and networks."""
        check_address("listen", self.listen)
        _check_bandwidth(self.bandwidth)
        check_networks("allow", self.allow)
        check_positive(dial_timeout=self.dial_timeout)


class TcpListenerConfig(_Listener, frozen=True, tag="tcp"):
    """Everything that connects goes to one address on one node."""

    #: The node's name.
    node: str
    #: What the node dials, e.g. `127.0.0.1:22`.
    target: str
    #: Seconds without a byte either way after which a caller is cut off; 0 for never.
    idle_timeout: float = 14400.0

    def __post_init__(self) -> None:
        """A listener that asks nobody who they are stays on loopback unless networks are named."""
        _Listener.__post_init__(self)
        check_tcp_address("target", self.target)
        check_not_negative(idle_timeout=self.idle_timeout)
        _closed_to_strangers(self)


class TlsListenerConfig(_Listener, frozen=True, tag="tls"):
    """Routes TLS by the server name asked for, without decrypting it."""

    #: What the node dials.
    target: str = "127.0.0.1:10250"
    #: Suffixes that may follow the node's name, e.g. `.edge.example`.
    suffixes: list[str] = []
    #: Seconds without a byte either way after which a caller is cut off; 0 for never.
    idle_timeout: float = 14400.0

    def __post_init__(self) -> None:
        """Check the target."""
        _Listener.__post_init__(self)
        check_tcp_address("target", self.target)
        check_not_negative(idle_timeout=self.idle_timeout)


class ConnectListenerConfig(_Listener, frozen=True, tag="connect"):
    """HTTP CONNECT, as kube-apiserver's egress selector speaks it."""

    #: Certificate of the listener; needed on TCP.
    certificate: Path | None = None
    #: Its private key.
    key: Path | None = None
    #: CAs whose client certificates are let in; needed on TCP.
    client_ca: list[Path] = []
    #: Common names that are let in; empty for every certificate of `client_ca`.
    client_names: list[str] = []
    #: Permissions of a Unix socket, octal text.
    mode: str = "0660"
    #: Suffixes that may follow the node's name.
    suffixes: list[str] = []
    #: Where a node's own kubelet is dialled when the target names the node itself: the host part.
    node_host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        """CONNECT reaches every node: over TCP it is for known clients alone."""
        _Listener.__post_init__(self)
        if isinstance(parse_address(self.listen), TCPAddress) and not (
            self.certificate and self.key and self.client_ca
        ):
            raise ValueError("a connect listener on TCP needs certificate, key and client_ca")
        if not re.fullmatch("[0-7]{3,4}", self.mode):
            raise ValueError(f"mode: {self.mode!r} is not three or four octal digits, such as 0660")


class _HTTPListener(_Listener, frozen=True):
    """What listeners that read HTTP share."""

    #: What the node dials when the caller names no port, or one that `ports` does not list. Empty refuses
    #: such callers.
    target: str = ""
    #: What the node dials, by the port that the caller names behind the node: `{"9100" = "127.0.0.1:9100"}`.
    ports: dict[str, str] = {}
    #: Suffixes that may follow the node's name, e.g. `.edge.example`.
    suffixes: list[str] = []
    #: Seconds after which a kept connection on which nothing is asked for is closed, on either side.
    idle_timeout: float = 75.0

    def __post_init__(self) -> None:
        """Check the targets."""
        _Listener.__post_init__(self)
        if not self.target and not self.ports:
            raise ValueError("name a target, or ports")
        for port, target in self.ports.items():
            if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"ports: {port!r} is not a port number")
            check_tcp_address("ports", target)
        if self.target:
            check_tcp_address("target", self.target)
        check_positive(idle_timeout=self.idle_timeout)


class HttpListenerConfig(_HTTPListener, frozen=True, tag="http"):
    """Routes plain HTTP requests, each on its own, by Host or by a request target with a host."""

    def __post_init__(self) -> None:
        """A listener that asks nobody who they are stays on loopback unless networks are named."""
        _HTTPListener.__post_init__(self)
        _closed_to_strangers(self)


class HttpsListenerConfig(_HTTPListener, frozen=True, kw_only=True, tag="https"):
    """Ends the callers' TLS, routes each request by Host, and has the node begin TLS anew to the target.

    The node's end of it, its certificate included, is `[tunnel_edge.tls]`.
    """

    #: Certificate shown to callers, PEM.
    certificate: Path
    #: Its private key, PEM.
    key: Path
    #: CAs of which every caller must show a certificate; may be empty on loopback alone.
    client_ca: list[Path] = []
    #: Common names that are let in; empty for every certificate of `client_ca`.
    client_names: list[str] = []
    #: Whether the node speaks TLS to the target; if not, plain HTTP.
    target_tls: bool = True

    def __post_init__(self) -> None:
        """Callers act with the node's certificate: they must be known, or near."""
        _HTTPListener.__post_init__(self)
        if self.client_names and not self.client_ca:
            raise ValueError("client_names needs client_ca")
        if not self.client_ca and not parse_address(self.listen).is_loopback:
            raise ValueError("an https listener needs client_ca, except on loopback")


ListenerConfig = (
    TcpListenerConfig | TlsListenerConfig | HttpListenerConfig | HttpsListenerConfig | ConnectListenerConfig
)


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
    #: Read the cluster's Node objects (table `kubernetes`): `connect` listeners then take addresses of nodes
    #: and of their pods, and `tunnel_dns` knows nodes that are not connected.
    node_objects: bool = False
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
    #: First delay before dialling again, seconds; it doubles up to `reconnect_maximum`.
    reconnect_initial: float = 0.5
    #: Longest delay before dialling again, seconds.
    reconnect_maximum: float = 60.0
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
        if not 1 <= self.connections <= 16:
            raise ValueError(f"connections: {self.connections} is not 1 to 16")
        check_positive(reconnect_initial=self.reconnect_initial)
        if not self.reconnect_maximum >= self.reconnect_initial:
            raise ValueError(f"reconnect_maximum: {self.reconnect_maximum} is less than reconnect_initial")
        if self.proxy and parse_proxy(self.proxy)[1] and self.proxy_credentials is not None:
            raise ValueError("proxy holds a password, and proxy_credentials names another: keep one")


def _closed_to_strangers(listener: _Listener) -> None:
    if not parse_address(listener.listen).is_loopback and not listener.allow:
        raise ValueError(
            f"listen: {listener.listen!r} is open to everyone: name networks in allow, or listen on loopback"
        )
