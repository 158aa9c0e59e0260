"""How long a TCP peer has been silent, as the kernel reports it, and TCP keepalive probes on demand.

The peer's kernel answers a probe even when its program is busy, so an unanswered probe means a broken path.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from superedge.net.sockets import KEEPALIVE, set_keepalive

# Offsets in struct tcp_info (linux/tcp.h): unanswered window probes, one byte; tcpi_rto in microseconds;
# segments in flight; time since the last data and ACK in ms.
_SIZE = 60
_PROBES, _RTO, _UNACKED, _LAST_DATA, _LAST_ACK = 3, 8, 24, 52, 56
UNANSWERED_FOR = 30.0
"""Seconds without an acknowledgement of what is in flight, after which a peer has vanished."""
MAX_PROBES = 3
"""As UNANSWERED_FOR, in window probes. They come ever more rarely to a peer that takes nothing."""
ANSWER_WITHIN = 2.5
"""Seconds that a peer has to answer a probe, in addition to the retransmission timeout."""
_LONGEST_WAIT = 8.0


def seconds_silent(sock: socket.socket) -> float:
    """Seconds since the last segment from the peer of a TCP connection."""
    info = connection_info(sock)
    return min(_field(info, _LAST_DATA), _field(info, _LAST_ACK)) / 1000


def has_vanished(info: bytes) -> bool:
    """Whether a TCP connection's peer answers nothing, by its ``tcp_info`` from `connection_info`.

    Keepalive probes do not tell, as the kernel sends none while data waits. A peer that lives and takes
    nothing answers window probes.
    """
    silent = _field(info, _LAST_ACK) / 1000 >= UNANSWERED_FOR
    return silent and bool(_field(info, _UNACKED) or info[_PROBES] >= MAX_PROBES)


def connection_info(sock: socket.socket) -> bytes:
    """What the kernel says of a TCP connection."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)


def _field(info: bytes, offset: int) -> int:
    value: int = struct.unpack_from("I", info, offset)[0]
    return value


def start_probe(sock: socket.socket) -> float:
    """Have the kernel probe the peer now. Return the seconds after which to call `finish_probe`."""
    set_keepalive(sock, 1, 1, 5)
    info = connection_info(sock)
    return ANSWER_WITHIN + min(_field(info, _RTO) / 1e6, _LONGEST_WAIT)


def finish_probe(sock: socket.socket, waited: float) -> bool:
    """Whether a segment came in the ``waited`` seconds since `start_probe`."""
    set_keepalive(sock, *KEEPALIVE)
    return seconds_silent(sock) < waited


def tcp_socket(transport: Any) -> socket.socket | None:
    """The open TCP socket of a transport, if it has one."""
    sock: socket.socket | None = getattr(transport, "socket", None)
    if sock is None or sock.fileno() < 0 or sock.family == socket.AF_UNIX:
        return None
    return sock
