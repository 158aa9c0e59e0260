"""A listening stream socket, TCP or Unix."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import abstract
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.config.addresses import Address, UnixAddress
from superedge.interfaces import IReactor
from superedge.net.descriptors import KEPT, ceiling
from superedge.net.sockets import set_options, twisted_address

MAX_ACCEPTS = 64
"""Most connections accepted in one reactor iteration."""
EXHAUSTED_PAUSE = 0.5
"""Seconds without accepting after the process or the system ran out of descriptors or memory."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_log = Logger()


def bind(address: Address, backlog: int, mode: int, reuse_port: bool) -> socket.socket:
    """A listening, non-blocking socket. Raises OSError."""
    if isinstance(address, UnixAddress):
        return _bind_unix(address.path, backlog, mode)
    found = socket.getaddrinfo(
        address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, number, _, sockaddr = found[0]
    sock = socket.socket(family, kind, number)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        set_options(sock)  # accepted sockets inherit the options
        sock.bind(sockaddr)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _bind_unix(path: str, backlog: int, mode: int) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux creates the file with the socket's own mode, so its permissions are never wider than asked
        # for.
        os.fchmod(sock.fileno(), mode)
        sock.bind(path)
        os.chmod(path, mode)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _remove_stale(path: str) -> None:
    """Delete a socket file without a listener. Any other file stays, and bind reports it."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.setblocking(False)
                if probe.connect_ex(path) == errno.ECONNREFUSED:
                    os.unlink(path)


@implementer(IListeningPort)
class ListeningSocket(abstract.FileDescriptor):
    """Accepts connections and gives each to ``accepted``, with what the socket module calls its address.

    It takes none while no more than ``kept`` of the process's descriptors are left.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: Address,
        reactor: IReactor,
        factory: IProtocolFactory,
        accepted: Callable[[socket.socket, Any], None],
        kept: int = KEPT,
    ) -> None:
        abstract.FileDescriptor.__init__(self, reactor)
        self._socket = sock
        self._address = address
        self._factory = factory
        self._accepted = accepted
        self._ceiling = ceiling(kept)
        self._accepts = 1
        """Accepts to try in a round: asking in vain costs as much as accepting."""
        self._exhausted = False
        self.fileno = sock.fileno  # type: ignore[method-assign]
        self.connected = 1

    def startListening(self) -> None:
        """Start accepting."""
        self._factory.doStart()
        self.startReading()

    def doRead(self) -> None:
        """Accept a bounded number of waiting connections."""
        for count in range(self._accepts):
            try:
                sock, peer = self._socket.accept()
                sock.setblocking(False)
            except (BlockingIOError, InterruptedError):
                self._accepts = max(count, 1)
                return
            except OSError as problem:
                if problem.errno in _EXHAUSTED:
                    self._pause(os.strerror(problem.errno or 0))
                    return
                continue  # the peer closed the connection while it waited
            if self._exhausted:
                self._exhausted = False
                _log.info("accepting again on {address}", address=self._address)
            number = sock.fileno()
            try:
                self._accepted(sock, peer)
            except Exception:
                _log.failure("a connection on {address} was dropped", address=self._address)
                sock.close()
            if number >= self._ceiling:
                self._pause("the last file descriptors are kept for the process itself")
                return
        self._accepts = min(2 * self._accepts, MAX_ACCEPTS)

    def _pause(self, problem: str) -> None:
        """Callers wait in the kernel's queue until something is released."""
        if not self._exhausted:
            self._exhausted = True
            _log.error(
                "cannot accept on {address}: {problem}; retrying",
                address=self._address,
                problem=problem,
            )
        self.stopReading()
        self._wait()

    def _wait(self) -> None:
        cast(IReactor, self.reactor).callLater(EXHAUSTED_PAUSE, self._accept_again)

    def _accept_again(self) -> None:
        if not self.connected:
            return
        if self._is_short():
            self._wait()
        else:
            self.startReading()

    def _is_short(self) -> bool:
        """Whether the next descriptor is one of those that are kept."""
        try:
            number = os.dup(self.fileno())
        except OSError:
            return False  # accepting says what is wrong
        os.close(number)
        return number >= self._ceiling

    def stopListening(self) -> Deferred[None]:
        """Close the socket; accepted connections stay open."""
        if not self.connected:
            return succeed(None)
        self.connectionLost(Failure(ConnectionAbortedError()))
        return succeed(None)

    def connectionLost(self, reason: Any) -> None:
        """Close the socket and remove its file."""
        if not self.connected:
            return
        abstract.FileDescriptor.connectionLost(self, reason)
        if isinstance(self._address, UnixAddress):
            with contextlib.suppress(OSError):
                os.unlink(self._address.path)
        self._socket.close()
        self._factory.doStop()

    def getHost(self) -> Any:
        """The bound address, with the actual port when port 0 was asked for."""
        return twisted_address(self._socket.getsockname())
