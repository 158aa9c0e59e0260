"""A program that sends requests to the kernel's interfaces when its standard input ends.

It runs by its path, without any package, and takes a tenth of the memory that a copy of its parent would. Its
arguments are the requests, rtnetlink messages in hexadecimal.
"""

from __future__ import annotations

import os
import socket
import sys


def main(requests: list[str]) -> int:
    """Wait, send, and say what the kernel refuses; the result is the exit code."""
    os.read(0, 1)
    status = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        for request in requests:
            route.send(bytes.fromhex(request))
            number = -int.from_bytes(route.recv(4096)[16:20], sys.byteorder, signed=True)
            if number:
                status = 1
                os.write(
                    2, f"superedge: what was made for DNS is not removed: {os.strerror(number)}\n".encode()
                )
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
