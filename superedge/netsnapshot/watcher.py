"""Listens for changes of the network: a netlink socket in the reactor."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.interfaces import IReactor
from superedge.netsnapshot import metrics
from superedge.netsnapshot.changes import ChangeFilter
from superedge.netsnapshot.socketfilter import attach

GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000
"""RTMGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE and
RTNLGRP_IPV6_RULE (linux/rtnetlink.h)."""
MAX_DATAGRAM = 65536
READS = 64
"""Datagrams that are read before others get their turn."""
RETRY = 5.0
"""Seconds until there is another socket after a fault of one."""

_log = Logger()


@implementer(IReadDescriptor)
class NetlinkWatcher:
    """Calls ``changed`` for each datagram that tells of a change, and when the kernel dropped some.

    After a fault of the socket there is another one, and a call for what was missed.
    """

    def __init__(self, reactor: IReactor, changes: ChangeFilter, changed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._changes = changes
        self._changed = changed
        self._socket: socket.socket | None = None
        self._retry: IDelayedCall | None = None

    def start(self) -> None:
        """Raises OSError."""
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        try:
            attach(self._socket)
        except OSError as problem:
            # `ChangeFilter` looks at everything all the same; it costs more.
            _log.info("the kernel filters no netlink messages: {problem}", problem=problem)
        self._socket.bind((0, GROUPS))
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Listen no more."""
        self._close()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _close(self) -> None:
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "netlink"

    def doRead(self) -> None:
        """Read what is there."""
        changed = False
        for _ in range(READS):
            if self._socket is None:
                return
            try:
                data = self._socket.recv(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:
                    raise
                metrics.OVERRUNS.inc()
                changed = True
            else:
                changed |= self._changes.tells_of_change(data)
        if changed:
            self._changed()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor takes it away after an error that `doRead` raised, and at its own end."""
        self._again(reason.getErrorMessage())

    def _again(self, problem: str) -> None:
        _log.error(
            "the network is not watched: {problem}; another try in {seconds} s",
            problem=problem,
            seconds=RETRY,
        )
        self._close()
        self._retry = self._reactor.callLater(RETRY, self._restart)

    def _restart(self) -> None:
        self._retry = None
        try:
            self.start()
        except OSError as problem:
            self._again(str(problem))
        else:
            self._changed()
