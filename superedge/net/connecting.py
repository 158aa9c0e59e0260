"""Connecting TCP and Unix sockets without blocking."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet import abstract
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from superedge.config.addresses import Address, TCPAddress, UnixAddress
from superedge.interfaces import IReactor
from superedge.net.descriptors import KEPT_BY_DIALS, ceiling
from superedge.net.errors import ConnectionRefused, ConnectTimeout
from superedge.net.sockets import set_options

_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN})


def connect(reactor: IReactor, address: Address) -> Deferred[socket.socket]:
    """A connected socket; fails with ConnectionRefused. Cancellable. Only the kernel limits the time."""
    try:
        sock, problem = _start(address)
    except ConnectionRefused:
        return fail()
    if problem in _UNDER_WAY and not isinstance(address, UnixAddress):
        return _Connecting(reactor, sock, address).done
    if problem:
        sock.close()
        return fail(_refused(address, problem))
    return succeed(sock)


async def connect_with_timeout(reactor: IReactor, address: TCPAddress, timeout: float) -> socket.socket:
    """A connected socket with its options set; the fast path is for a target on this host.

    ``timeout`` is in seconds. Raises ConnectionRefused, also when only the last file descriptors are left, or
    ConnectTimeout.
    """
    sock, problem = _start(address)
    if sock.fileno() >= ceiling(KEPT_BY_DIALS):
        sock.close()
        raise _refused(address, errno.EMFILE)
    if problem in _UNDER_WAY:
        # On loopback the handshake is complete by now; the second call reports it.
        problem = sock.connect_ex((address.host, address.port))
    if not problem:
        set_options(sock, keepalive=not address.is_loopback)
        return sock
    if problem in _UNDER_WAY:
        set_options(sock)
        return await _Connecting(reactor, sock, address, timeout).done
    sock.close()
    raise _refused(address, problem)


def _start(address: Address) -> tuple[socket.socket, int]:
    """A socket that has begun to connect, and the error number of that.

    Raises ConnectionRefused when no socket can be created: too many open files, or no such address family.
    """
    target: Any = address.path if isinstance(address, UnixAddress) else (address.host, address.port)
    if isinstance(address, UnixAddress):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as problem:
        raise _refused(address, problem.errno or 0) from problem
    try:
        return sock, sock.connect_ex(target)
    except OSError as problem:  # an address that is not valid on this host
        sock.close()
        raise _refused(address, problem.errno or 0) from problem


def _refused(address: Address, problem: int) -> ConnectionRefused:
    return ConnectionRefused(f"cannot connect to {address}: {os.strerror(problem)}")


class _Connecting(abstract.FileDescriptor):
    """Waits until a connecting TCP socket is connected or has failed."""

    def __init__(
        self, reactor: IReactor, sock: socket.socket, address: Address, timeout: float | None = None
    ) -> None:
        abstract.FileDescriptor.__init__(self, reactor)
        self.done: Deferred[socket.socket] = Deferred(self._cancelled)
        self._socket = sock
        self._address = address
        self._timeout = timeout
        self._deadline: IDelayedCall | None = None
        self.fileno = sock.fileno  # type: ignore[method-assign]
        self.connected = 1
        self.startWriting()
        if timeout is not None:
            self._deadline = reactor.callLater(timeout, self._expired)

    def doWrite(self) -> None:
        """The socket is writable: the attempt has ended."""
        self._finish(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def doRead(self) -> None:
        """Not used: the end of an attempt makes the socket writable."""

    def connectionLost(self, reason: Failure) -> None:
        """The attempt has failed."""
        self._finish(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNREFUSED)

    def _finish(self, problem: int) -> None:
        if not self.connected:
            return
        self._stop()
        if problem:
            self._socket.close()
            self.done.errback(_refused(self._address, problem))
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
