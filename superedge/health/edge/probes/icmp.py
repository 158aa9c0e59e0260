"""Whether a host answers to ping, where the system lets this user send one.

Source: RFC 792, RFC 4443; Linux icmp(7), net.ipv4.ping_group_range.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.errors import ConfigError
from superedge.interfaces import IHealthChecker, IReactor
from superedge.net.errors import ConnectError, ConnectTimeout

_REQUESTS = {socket.AF_INET: 8, socket.AF_INET6: 128}
_PROTOCOLS = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
_numbers = count(1)


@implementer(IReadDescriptor)
class _Echo:
    """One request on a socket of its own; the kernel gives it the answers to its own requests alone."""

    def __init__(self, reactor: IReactor, host: str, timeout: float) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._reactor = reactor
        self._number = next(_numbers) & 0xFFFF
        self.done: Deferred[None] = Deferred(lambda _: self._close())
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, _PROTOCOLS[family])
        self._deadline = reactor.callLater(
            timeout, self._fail, ConnectTimeout(f"{host} does not answer to ping")
        )
        reactor.addReader(self)
        try:
            self._socket.connect((host, 0))
            self._socket.send(struct.pack(">BBHHH", _REQUESTS[family], 0, 0, 0, self._number))
        except OSError as problem:
            self._fail(ConnectError(f"{host} cannot be sent a ping: {problem.strerror}"))

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "ping"

    def doRead(self) -> None:
        try:
            answer = self._socket.recv(64)
        except BlockingIOError:
            return
        except OSError as problem:
            self._fail(ConnectError(f"no ping: {problem.strerror}"))
            return
        if len(answer) >= 8 and struct.unpack_from(">H", answer, 6)[0] == self._number:
            self._close()
            self.done.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        self._fail(ConnectError("no ping"))

    def _close(self) -> None:
        if self._deadline.active():
            self._deadline.cancel()
        self._reactor.removeReader(self)
        self._socket.close()

    def _fail(self, problem: ConnectError) -> None:
        if not self.done.called:
            self._close()
            self.done.errback(Failure(problem))


@implementer(IHealthChecker)
class ICMPChecker:
    """Sends one echo request a check; the port says nothing."""

    def __init__(self, reactor: IReactor, options: Mapping[str, Any]) -> None:
        """Raises ConfigError where this user may not."""
        self._reactor = reactor
        try:
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()
        except OSError as problem:
            raise ConfigError(
                "edge_health.probes of kind icmp",
                "",
                f"is not permitted: net.ipv4.ping_group_range must include this process's group"
                f" ({problem.strerror})",
            ) from problem

    async def check(self, host: str, port: int, timeout: float) -> None:
        """Raises ConnectError."""
        await _Echo(self._reactor, host, timeout).done

    def close(self) -> None:
        """Nothing is kept."""
