"""``[[tunnel_cloud.listeners]]``: where cloud programs enter the tunnel."""

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
    check_tcp_address,
)

LEAST_BANDWIDTH = 16 * 1024
INTERNAL_IP = "{internal_ip}"
"""In ``node_host``: the node's own addresses."""


def check_bandwidth(rate: int) -> None:
    """Refuse a limit under which nothing moves."""
    if rate and rate < LEAST_BANDWIDTH:
        raise ValueError(f"bandwidth: {rate} is neither 0, for no limit, nor at least {LEAST_BANDWIDTH}")


def split_access(text: str) -> tuple[str, str, str]:
    """A rule of ``access``: the caller's glob, the node's, and the port. ValueError when it is none."""
    caller, _, target = text.rpartition(" ")
    node, _, port = target.rpartition(":")
    number = port.isascii() and port.isdecimal() and 0 < int(port) < 65536
    if not caller.strip() or not node or not (port == "*" or number):
        raise ValueError(f"access: {text!r} is not CALLER NODE:PORT")
    return caller.strip(), node, port


class BaseListenerConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"
):
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
        check_bandwidth(self.bandwidth)
        check_networks("allow", self.allow)
        check_positive(dial_timeout=self.dial_timeout)


class TCPListenerConfig(BaseListenerConfig, frozen=True, tag="tcp"):
    """Everything that connects goes to one address on one node."""

    #: The node's name.
    node: str
    #: What the node dials, e.g. `127.0.0.1:22`.
    target: str
    #: Seconds without a byte either way after which a caller is cut off; 0 for never.
    idle_timeout: float = 14400.0

    def __post_init__(self) -> None:
        """A listener that asks nobody who they are stays on loopback unless networks are named."""
        BaseListenerConfig.__post_init__(self)
        check_tcp_address("target", self.target)
        check_not_negative(idle_timeout=self.idle_timeout)
        _closed_to_strangers(self)


class TLSListenerConfig(BaseListenerConfig, frozen=True, tag="tls"):
    """Routes TLS by the server name asked for, without decrypting it."""

    #: What the node dials.
    target: str = "127.0.0.1:10250"
    #: Suffixes that may follow the node's name, e.g. `.edge.example`.
    suffixes: list[str] = []
    #: Seconds without a byte either way after which a caller is cut off; 0 for never.
    idle_timeout: float = 14400.0

    def __post_init__(self) -> None:
        """Check the target."""
        BaseListenerConfig.__post_init__(self)
        check_tcp_address("target", self.target)
        check_not_negative(idle_timeout=self.idle_timeout)


class ConnectListenerConfig(BaseListenerConfig, frozen=True, tag="connect"):
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
    #: What the node dials, with the request's port, when the target names the node itself: a host, or a list
    #: of hosts that are tried in turn. `{internal_ip}` stands for the node's own addresses, as its Node
    #: object or its session says: `["127.0.0.1", "{internal_ip}"]` reaches kubelets that listen on their
    #: address alone.
    node_host: str | list[str] = "127.0.0.1"
    #: Who may reach what: `CALLER NODE:PORT`, globs of the certificate's common name and of the node's name,
    #: and a port or `*`. Whoever no rule covers is refused; empty lets every caller reach everything.
    access: list[str] = []

    def __post_init__(self) -> None:
        """CONNECT reaches every node: over TCP it is for known clients alone."""
        BaseListenerConfig.__post_init__(self)
        if isinstance(parse_address(self.listen), TCPAddress) and not (
            self.certificate and self.key and self.client_ca
        ):
            raise ValueError("a connect listener on TCP needs certificate, key and client_ca")
        if not self.node_host or "" in (
            [self.node_host] if isinstance(self.node_host, str) else self.node_host
        ):
            raise ValueError("node_host names no host")
        for text in self.access:
            split_access(text)
        if self.access and not self.client_ca:
            raise ValueError("access needs certificate, key and client_ca: it goes by the callers' names")
        if not re.fullmatch("[0-7]{3,4}", self.mode):
            raise ValueError(f"mode: {self.mode!r} is not three or four octal digits, such as 0660")


class _HTTPListenerConfig(BaseListenerConfig, frozen=True):
    """What listeners that read HTTP share."""

    #: What the node dials when the caller names no port, or one that `ports` does not list. Empty refuses
    #: such callers.
    target: str = ""
    #: What the node dials, by the port that the caller names behind the node: `{"9100" = "127.0.0.1:9100"}`.
    ports: dict[str, str] = {}
    #: Suffixes that may follow the node's name, e.g. `.edge.example`.
    suffixes: list[str] = []
    #: Seconds after which a kept connection on which nothing is asked for is closed, on either side, and one
    #: whose caller stands still in a request's body or takes nothing of an answer.
    idle_timeout: float = 75.0

    def __post_init__(self) -> None:
        """Check the targets."""
        BaseListenerConfig.__post_init__(self)
        if not self.target and not self.ports:
            raise ValueError("name a target, or ports")
        for port, target in self.ports.items():
            if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"ports: {port!r} is not a port number")
            check_tcp_address("ports", target)
        if self.target:
            check_tcp_address("target", self.target)
        check_positive(idle_timeout=self.idle_timeout)


class HTTPListenerConfig(_HTTPListenerConfig, frozen=True, tag="http"):
    """Routes plain HTTP requests, each on its own, by Host or by a request target with a host."""

    def __post_init__(self) -> None:
        """A listener that asks nobody who they are stays on loopback unless networks are named."""
        _HTTPListenerConfig.__post_init__(self)
        _closed_to_strangers(self)


class HTTPSListenerConfig(_HTTPListenerConfig, frozen=True, kw_only=True, tag="https"):
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
        _HTTPListenerConfig.__post_init__(self)
        if self.client_names and not self.client_ca:
            raise ValueError("client_names needs client_ca")
        if not self.client_ca and not parse_address(self.listen).is_loopback:
            raise ValueError("an https listener needs client_ca, except on loopback")


ListenerConfig = (
    TCPListenerConfig | TLSListenerConfig | HTTPListenerConfig | HTTPSListenerConfig | ConnectListenerConfig
)


def _closed_to_strangers(listener: BaseListenerConfig) -> None:
    if not parse_address(listener.listen).is_loopback and not listener.allow:
        raise ValueError(
            f"listen: {listener.listen!r} is open to everyone: name networks in allow, or listen on loopback"
        )
