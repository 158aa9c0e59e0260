"""Socket options, and addresses in the forms of the socket module, of Twisted and of log lines."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from superedge.config.addresses import TCPAddress

KEEPALIVE = (15, 5, 3)
"""Idle seconds, seconds between probes, and number of probes; see `set_keepalive`."""


def set_options(sock: socket.socket, keepalive: bool = True) -> None:
    """Set TCP_NODELAY; with ``keepalive``, also detect within about 30 s that a remote peer is gone."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    if not keepalive:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
    set_keepalive(sock, *KEEPALIVE)


def set_keepalive(sock: socket.socket, idle: int, interval: int, count: int) -> None:
    """After ``idle`` seconds of silence send a probe every ``interval`` seconds, at most ``count`` times."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)


def peer_sockaddr(sock: socket.socket) -> Any:
    """The peer's address in the socket module's form."""
    try:
        return sock.getpeername()
    except OSError:  # the peer has disconnected already
        return ("::", 0, 0, 0) if sock.family == socket.AF_INET6 else ("0.0.0.0", 0)


def twisted_address(sockaddr: Any) -> IAddress:
    """Twisted's address object for an address in the socket module's form."""
    if not isinstance(sockaddr, tuple):
        return cast(IAddress, UNIXAddress(sockaddr or b""))
    if len(sockaddr) == 4:
        return cast(IAddress, IPv6Address("TCP", *sockaddr))
    return cast(IAddress, IPv4Address("TCP", *sockaddr))


def address_text(address: object) -> str:
    """An address for a log line: ``127.0.0.1:80``, ``[::1]:80`` or ``unix:/path``."""
    if isinstance(address, UNIXAddress):
        path = address.name or b""
        return f"unix:{path.decode(errors='backslashreplace') if isinstance(path, bytes) else path}"
    if isinstance(address, IPv4Address | IPv6Address):
        return str(TCPAddress(address.host, address.port))
    return str(address)
