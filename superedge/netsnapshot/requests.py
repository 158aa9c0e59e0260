"""Many rtnetlink requests at once, each acknowledged by the kernel (netlink(7)). Blocking."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple

TIMEOUT = 10.0
TOGETHER = 64
"""Requests that are sent before their acknowledgements are read; a socket's buffer holds more of these."""
NLMSG_ERROR = 2
TEMPORARY = frozenset(
    (errno.EADDRNOTAVAIL, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENODEV)
)

_HEADER = Struct("=IHHII")
_ERROR = Struct("=i")


class Request(NamedTuple):
    """A message with NLM_F_ACK, and what it does, for people."""

    what: str
    message: bytes


class Refusal(NamedTuple):
    """What could not be done, why, and the errno of that."""

    what: str
    reason: str
    errno: int

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"

    @property
    def temporary(self) -> bool:
        """Whether it may end when a device or an address that it needs comes."""
        return self.errno in TEMPORARY


class RequestSocket:
    """A socket of this process's network namespace."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(TIMEOUT)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def send(self, requests: Sequence[Request]) -> Iterator[Refusal]:
        """The requests that the kernel refuses. Raises OSError, TimeoutError too."""
        batch = bytearray()
        waiting: dict[int, str] = {}
        for what, message in requests:
            if len(waiting) == TOGETHER:
                yield from self._exchange(batch, waiting)
                batch.clear()
            self._sequence += 1
            size, kind, flags, _, _ = _HEADER.unpack_from(message)
            batch += _HEADER.pack(size, kind, flags, self._sequence, 0) + message[_HEADER.size :]
            batch += bytes(-len(batch) % 4)
            waiting[self._sequence] = what
        if batch:
            yield from self._exchange(batch, waiting)

    def _exchange(self, batch: bytes | bytearray, waiting: dict[int, str]) -> Iterator[Refusal]:
        self._socket.sendto(batch, (0, 0))
        while waiting:
            data, at = self._socket.recv(65536), 0
            while at + _HEADER.size <= len(data):
                size, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
                if kind == NLMSG_ERROR and sequence in waiting:
                    what = waiting.pop(sequence)
                    (code,) = _ERROR.unpack_from(data, at + _HEADER.size)
                    if code:
                        yield Refusal(what, f"the kernel refused it: {os.strerror(-code)}", -code)
                at += (size + 3) & ~3
