"""How long a TCP peer has been silent, as the kernel knows it, and asking it for a sign of life.

The peer's kernel answers for a program that is busy: who says nothing here has no path to us any more.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from superedge.net.sockets import KEEPALIVE, set_keepalive

# Of struct tcp_info (linux/tcp.h): tcpi_rto, microseconds; time since the last data and ACK, milliseconds.
_SIZE = 60
_RTO, _LAST_DATA, _LAST_ACK = 8, 52, 56
ANSWER_WITHIN = 2.5
"""Seconds that a questioned peer has, beyond those until our kernel sends again what is not acknowledged."""
_LONGEST_WAIT = 8.0


def silence(sock: socket.socket) -> float:
    """Seconds since anything came from the peer of a TCP connection."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    return min(_field(info, _LAST_DATA), _field(info, _LAST_ACK)) / 1000


def _field(info: bytes, offset: int) -> int:
    value: int = struct.unpack_from("I", info, offset)[0]
    return value


def question(sock: socket.socket) -> float:
    """Have the kernel ask the peer now; in how many seconds `silence` tells whether it answered."""
    set_keepalive(sock, 1, 1, 5)
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    return ANSWER_WITHIN + min(_field(info, _RTO) / 1e6, _LONGEST_WAIT)


def answered(sock: socket.socket, waited: float) -> bool:
    """Whether anything came in the ``waited`` seconds since `question`."""
    set_keepalive(sock, *KEEPALIVE)
    return silence(sock) < waited


def tcp_socket(transport: Any) -> socket.socket | None:
    """The TCP socket of a transport, if it has one that is open."""
    sock: socket.socket | None = getattr(transport, "socket", None)
    if sock is None or sock.fileno() < 0 or sock.family == socket.AF_UNIX:
        return None
    return sock
