"""Sockets and their addresses, as the socket module, Twisted and people have them."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from superedge.config.addresses import TCPAddress

KEEPALIVE = (15, 5, 3)
"""Idle seconds, seconds between two questions, and their number, see `set_keepalive`."""


def prepare(sock: socket.socket, far: bool = True) -> None:
    """Small writes leave at once, and a ``far`` peer that falls silent is noticed in about 30 s."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    if not far:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
    set_keepalive(sock, *KEEPALIVE)


def set_keepalive(sock: socket.socket, idle: int, interval: int, count: int) -> None:
    """After ``idle`` seconds of silence ask every ``interval`` seconds, ``count`` times at most."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)


def peer_of(sock: socket.socket) -> Any:
    """What the socket module calls the peer's address."""
    try:
        return sock.getpeername()
    except OSError:  # the peer was gone before we looked
        return ("::", 0, 0, 0) if sock.family == socket.AF_INET6 else ("0.0.0.0", 0)


def socket_address(sockaddr: Any) -> IAddress:
    """Twisted's address object for what the socket module calls an address."""
    if not isinstance(sockaddr, tuple):
        return cast(IAddress, UNIXAddress(sockaddr or b""))
    if len(sockaddr) == 4:
        return cast(IAddress, IPv6Address("TCP", *sockaddr))
    return cast(IAddress, IPv4Address("TCP", *sockaddr))


def address_text(address: object) -> str:
    """An address for people: ``127.0.0.1:80``, ``[::1]:80`` or ``unix:/path``."""
    if isinstance(address, UNIXAddress):
        path = address.name or b""
        return f"unix:{path.decode(errors='backslashreplace') if isinstance(path, bytes) else path}"
    if isinstance(address, IPv4Address | IPv6Address):
        return str(TCPAddress(address.host, address.port))
    return str(address)
