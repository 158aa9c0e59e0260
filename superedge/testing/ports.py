"""Ports for servers that are yet to start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

FIRST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given: list[socket.socket] = []


def free_port() -> int:
    """A port that is free for TCP and UDP at all of this machine's addresses, and is given once.

    It lies below those that the kernel gives to outgoing connections. A Unix socket of its name, open until
    the process ends, keeps it from other processes that ask here.
    """
    end = int(_RANGE.read_text().split()[0])
    while True:
        port = random.randrange(FIRST, end)
        given = socket.socket(socket.AF_UNIX)
        try:
            given.bind(f"\0superedge-port-{port}")
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as sock:
                    sock.bind(("", port))
        except OSError:
            given.close()
        else:
            _given.append(given)
            return port
