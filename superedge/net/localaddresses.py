"""The machine's own IP addresses, as Linux reports them."""

from __future__ import annotations

import contextlib
import fcntl
import socket
from ipaddress import IPv6Address
from pathlib import Path
from struct import pack

_SIOCGIFADDR = 0x8915


def own_addresses() -> list[str]:
    """IPv4 and IPv6 literals of this machine's interfaces, without loopback and link-local addresses."""
    found: list[str] = []
    # Without a free descriptor, or without IPv4, the addresses are left out.
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # the interface has no IPv4 address
                answer = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, pack("256s", name.encode()[:15]))
                found.append(socket.inet_ntoa(answer[20:24]))
    with contextlib.suppress(OSError):  # a kernel without IPv6
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            address = IPv6Address(bytes.fromhex(line.split()[0]))
            if not (address.is_loopback or address.is_link_local):
                found.append(str(address))
    return [address for address in found if not address.startswith("127.")]
