"""A listening stream socket, TCP or Unix."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.config.addresses import Address, TCPAddress, UnixAddress
from superedge.interfaces import IReactor
from superedge.net.descriptors import KEPT, ceiling
from superedge.net.sockets import set_options, twisted_address
from superedge.reactor.reading import SocketReader

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
class ListeningSocket(SocketReader):
    """Accepts connections and gives each to ``accepted``, with what the socket module calls its address.

    It takes none while no more than ``kept`` of the process's descriptors are left. A socket that is lost,
    as one that ``ss --kill`` destroys, is replaced by what ``again`` binds to the same address.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: Address,
        reactor: IReactor,
        factory: IProtocolFactory,
        accepted: Callable[[socket.socket, Any], None],
        again: Callable[[Address], socket.socket],
        kept: int = KEPT,
    ) -> None:
        super().__init__(reactor, f"listening on {address}")
        self.sock = sock
        self._address = address
        self._factory = factory
        self._accepted = accepted
        self._again = again
        self._ceiling = ceiling(kept)
        self._accepts = 1
        """Accepts to try in a round: asking in vain costs as much as accepting."""
        self._exhausted = False
        self._host: Any = twisted_address(sock.getsockname())
        self._stopped = False

    def startListening(self) -> None:
        """Start accepting."""
        self._factory.doStart()
        self.start()

    def open(self) -> socket.socket:
        """See `SocketReader`."""
        address = self._address
        if isinstance(address, TCPAddress):
            address = TCPAddress(address.host, self._host.port)
        return self._again(address)

    def doRead(self) -> None:
        """Accept a bounded number of waiting connections."""
        listening = self.sock
        if listening is None:
            return
        for count in range(self._accepts):
            try:
                sock, peer = listening.accept()
                sock.setblocking(False)
            except (BlockingIOError, InterruptedError):
                self._accepts = max(count, 1)
                return
            except OSError as problem:
                if problem.errno in _EXHAUSTED:
                    self._pause(os.strerror(problem.errno or 0))
                    return
                if problem.errno == errno.EINVAL:  # it does not listen any more
                    self.connectionLost(Failure(problem))
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
        self._reactor.removeReader(self)
        self._wait()

    def _wait(self) -> None:
        self._reactor.callLater(EXHAUSTED_PAUSE, self._accept_again)

    def _accept_again(self) -> None:
        if self.sock is None:
            return
        if self._is_short():
            self._wait()
        else:
            self._reactor.addReader(self)

    def _is_short(self) -> bool:
        """Whether the next descriptor is one of those that are kept."""
        try:
            number = os.dup(self.fileno())
        except OSError:
            return False  # accepting says what is wrong
        os.close(number)
        return number >= self._ceiling

    def stopListening(self) -> Deferred[None]:
        """Close the socket and remove its file; accepted connections stay open."""
        if not self._stopped:
            self._stopped = True
            self.stop()
            if isinstance(self._address, UnixAddress):
                with contextlib.suppress(OSError):
                    os.unlink(self._address.path)
            self._factory.doStop()
        return succeed(None)

    def getHost(self) -> Any:
        """The bound address, with the actual port when port 0 was asked for."""
        return self._host
