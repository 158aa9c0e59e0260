"""The tables ``[[tunnel_cloud.listeners]]``: the listeners for callers of the tunnel."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.checks import (
    check_address,
    check_networks,
    check_not_negative,
    check_positive,
    check_suffixes,
    check_target,
)

MIN_BANDWIDTH = 16 * 1024
INTERNAL_IP = "{internal_ip}"
"""Placeholder in ``node_host`` for the node's own addresses."""


def check_bandwidth(rate: int) -> None:
    """Refuse a limit that is too low to work."""
    if rate and rate < MIN_BANDWIDTH:
        raise ValueError(f"bandwidth: {rate} is neither 0, for no limit, nor at least {MIN_BANDWIDTH}")


def split_access(text: str) -> tuple[str, str, str]:
    """A rule of ``access``: the caller's glob, the node's glob, and the port. Raises ValueError."""
    caller, _, target = text.rpartition(" ")
    node, _, port = target.rpartition(":")
    number = port.isascii() and port.isdecimal() and 0 < int(port) < 65536
    if not caller.strip() or not node or not (port == "*" or number):
        raise ValueError(f"access: {text!r} is not CALLER NODE:PORT")
    return caller.strip(), node, port


class BaseListenerConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"
):
    """The keys of every kind of listener."""

    #: Address of the listener: `host:port`, `[v6]:port` or `unix:/path`.
    listen: str
    #: Networks (CIDR) from which callers may connect; empty for any.
    allow: list[str] = []
    #: Seconds for an edge node to connect to the target.
    dial_timeout: float = 10.0
    #: Most bytes a second that all callers together send, and most that they receive; 0 for no limit.
    bandwidth: int = 0

    def __post_init__(self) -> None:
        """Check addresses and networks."""
        check_address("listen", self.listen)
        check_bandwidth(self.bandwidth)
        check_networks("allow", self.allow)
        check_positive(dial_timeout=self.dial_timeout)


class TCPListenerConfig(BaseListenerConfig, frozen=True, tag="tcp"):
    """Connects every caller to one address on one node."""

    #: The node's name.
    node: str
    #: What the node dials, e.g. `127.0.0.1:22`.
    target: str
    #: Seconds without a byte either way after which a caller is cut off; 0 for never.
    idle_timeout: float = 14400.0

    def __post_init__(self) -> None:
        """Without client certificates, the listener must be on loopback or name networks in `allow`."""
        BaseListenerConfig.__post_init__(self)
        check_target("target", self.target)
        check_not_negative(idle_timeout=self.idle_timeout)
        _require_restricted_access(self)


class TLSListenerConfig(BaseListenerConfig, frozen=True, tag="tls"):
    """Routes TLS by server name (SNI), without decrypting it."""

    #: What the node dials.
    target: str = "127.0.0.1:10250"
    #: Suffixes that may follow the node's name, e.g. `.edge.example`.
    suffixes: list[str] = []
    #: Seconds without a byte either way after which a caller is cut off; 0 for never.
    idle_timeout: float = 14400.0

    def __post_init__(self) -> None:
        """Check the target."""
        BaseListenerConfig.__post_init__(self)
        check_suffixes(self.suffixes)
        check_target("target", self.target)
        check_not_negative(idle_timeout=self.idle_timeout)


class ConnectListenerConfig(BaseListenerConfig, frozen=True, tag="connect"):
    """HTTP CONNECT, as kube-apiserver's egress selector sends it."""

    #: Certificate of the listener; required on TCP.
    certificate: Path | None = None
    #: Its private key.
    key: Path | None = None
    #: CAs that sign callers' client certificates; required on TCP.
    client_ca: list[Path] = []
    #: Common names of allowed callers; empty for every certificate of `client_ca`.
    client_names: list[str] = []
    #: Permissions of a Unix socket, octal text.
    mode: str = "0660"
    #: Suffixes that may follow the node's name.
    suffixes: list[str] = []
    #: Host that the node dials, with the request's port, when the target is the node itself; or a list of
    #: hosts that are tried in turn. `{internal_ip}` stands for the node's own addresses from its Node object
    #: or its session: `["127.0.0.1", "{internal_ip}"]` also reaches kubelets that do not listen on loopback.
    node_host: str | list[str] = "127.0.0.1"
    #: Access rules `CALLER NODE:PORT`: globs of the certificate's common name and of the node's name, and a
    #: port or `*`. A caller without a matching rule is refused; an empty list allows everything.
    access: list[str] = []

    def __post_init__(self) -> None:
        """CONNECT reaches every node: over TCP it is for known clients alone."""
        BaseListenerConfig.__post_init__(self)
        if not self.node_host or "" in (
            [self.node_host] if isinstance(self.node_host, str) else self.node_host
        ):
            raise ValueError("node_host: names no host")
        check_suffixes(self.suffixes)
        for text in self.access:
            split_access(text)
        if self.access and not self.client_ca:
            raise ValueError("access: needs certificate, key and client_ca: its rules use the callers' names")
        if not re.fullmatch("[0-7]{3,4}", self.mode):
            raise ValueError(f"mode: {self.mode!r} is not three or four octal digits, such as 0660")
        if isinstance(parse_address(self.listen), TCPAddress) and not (
            self.certificate and self.key and self.client_ca
        ):
            raise ValueError("a connect listener on TCP needs certificate, key and client_ca")


class _HTTPListenerConfig(BaseListenerConfig, frozen=True):
    """The keys of the listeners that read HTTP."""

    #: What the node dials when the caller names no port, or a port that is not in `ports`. Empty refuses such
    #: callers.
    target: str = ""
    #: What the node dials, by the port that the caller names: `{"9100" = "127.0.0.1:9100"}`.
    ports: dict[str, str] = {}
    #: Suffixes that may follow the node's name, e.g. `.edge.example`.
    suffixes: list[str] = []
    #: Seconds after which an idle connection is closed, on either side, and a connection whose caller stops
    #: sending a request's body or reading a response.
    idle_timeout: float = 75.0

    def __post_init__(self) -> None:
        """Check the targets."""
        BaseListenerConfig.__post_init__(self)
        for port, target in self.ports.items():
            if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"ports: {port!r} is not a port number")
            check_target("ports", target)
        if self.target:
            check_target("target", self.target)
        check_positive(idle_timeout=self.idle_timeout)
        check_suffixes(self.suffixes)
        if not self.target and not self.ports:
            raise ValueError("name a target, or ports")


class HTTPListenerConfig(_HTTPListenerConfig, frozen=True, tag="http"):
    """Routes each plain HTTP request by its Host header, or by the host in its request target."""

    def __post_init__(self) -> None:
        """Without client certificates, the listener must be on loopback or name networks in `allow`."""
        _HTTPListenerConfig.__post_init__(self)
        _require_restricted_access(self)


class HTTPSListenerConfig(_HTTPListenerConfig, frozen=True, kw_only=True, tag="https"):
    """Terminates the callers' TLS and routes each request by Host; the node opens TLS to the target.

    `[tunnel_edge.tls]` configures the node's TLS, with its certificate.
    """

    #: Certificate presented to callers, PEM.
    certificate: Path
    #: Its private key, PEM.
    key: Path
    #: CAs that sign callers' client certificates, which are required; may be empty only on loopback.
    client_ca: list[Path] = []
    #: Common names of allowed callers; empty for every certificate of `client_ca`.
    client_names: list[str] = []
    #: Whether the node speaks TLS to the target, or plain HTTP.
    target_tls: bool = True

    def __post_init__(self) -> None:
        """Callers use the node's certificate, so they need one of their own, or must be on this host."""
        _HTTPListenerConfig.__post_init__(self)
        if self.client_names and not self.client_ca:
            raise ValueError("client_names needs client_ca")
        if not self.client_ca and not parse_address(self.listen).is_loopback:
            raise ValueError("an https listener needs client_ca, except on loopback")


ListenerConfig = (
    TCPListenerConfig | TLSListenerConfig | HTTPListenerConfig | HTTPSListenerConfig | ConnectListenerConfig
)


def _require_restricted_access(listener: BaseListenerConfig) -> None:
    if not parse_address(listener.listen).is_loopback and not listener.allow:
        raise ValueError(
            f"listen: {listener.listen!r} is open to everyone: name networks in allow, or listen on loopback"
        )
