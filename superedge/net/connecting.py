"""A TCP or Unix socket on its way to be connected."""

from __future__ import annotations

import errno
import os
import socket
from typing import cast

from twisted.internet import abstract
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from superedge.config.addresses import Address, UnixAddress
from superedge.interfaces import IReactor
from superedge.net.errors import ConnectionRefused, ConnectTimeout

_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EALREADY})


class Connecting(abstract.FileDescriptor):
    """``done`` fires with the connected socket, or fails with ConnectionRefused or ConnectTimeout.

    ``timeout`` is in seconds; without one the system's own limit holds. Cancel ``done`` to give up.
    """

    def __init__(self, reactor: IReactor, address: Address, timeout: float | None = None) -> None:
        abstract.FileDescriptor.__init__(self, reactor)
        self.done: Deferred[socket.socket] = Deferred(self._cancelled)
        if isinstance(address, UnixAddress):
            self._target: object = address.path
            family = socket.AF_UNIX
        else:
            self._target = (address.host, address.port)
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._address = address
        self._timeout = timeout
        self._deadline: IDelayedCall | None = None
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self.fileno = self._socket.fileno  # type: ignore[method-assign]
        self.connected = 1

    def start(self, look_again: bool = False) -> None:
        """Begin; with ``look_again``, ``done`` has often fired when this returns."""
        target = cast(tuple[str, int], self._target)
        problem = self._socket.connect_ex(target)
        if self._socket.family != socket.AF_UNIX:
            if look_again and problem == errno.EINPROGRESS:
                # On loopback the handshake is over by now; the second call says so.
                problem = self._socket.connect_ex(target)
            if problem in _UNDER_WAY or problem == errno.EAGAIN:
                self.startWriting()
                if self._timeout is not None:
                    self._deadline = cast(IReactor, self.reactor).callLater(self._timeout, self._expired)
                return
        self._finish(problem)

    def doWrite(self) -> None:
        """The attempt has ended."""
        self._finish(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def doRead(self) -> None:
        """Only writability says how connecting ended."""

    def connectionLost(self, reason: Failure) -> None:
        """The attempt has failed."""
        self._finish(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNREFUSED)

    def _finish(self, problem: int) -> None:
        if not self.connected:
            return
        self._stop()
        if problem:
            self._socket.close()
            self.done.errback(ConnectionRefused(f"cannot connect to {self._address}: {os.strerror(problem)}"))
        else:
            self.done.callback(self._socket)

    def _expired(self) -> None:
        self._deadline = None
        self._stop()
        self._socket.close()
        self.done.errback(ConnectTimeout(f"{self._address} did not answer within {self._timeout:g} s"))

    def _cancelled(self, _done: Deferred[socket.socket]) -> None:
        self._stop()
        self._socket.close()

    def _stop(self) -> None:
        self.connected = 0
        self.stopWriting()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
