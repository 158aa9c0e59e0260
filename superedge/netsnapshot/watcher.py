"""Listens for changes of the network: a netlink socket in the reactor."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.interfaces import IReactor
from superedge.netsnapshot import metrics
from superedge.netsnapshot.changes import ChangeFilter
from superedge.netsnapshot.socketfilter import attach
from superedge.reactor.reading import SocketReader

GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000
"""RTMGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE and
RTNLGRP_IPV6_RULE (linux/rtnetlink.h)."""
MAX_DATAGRAM = 65536
READS = 64
"""Datagrams that are read before others get their turn."""

_log = Logger()


class NetlinkWatcher(SocketReader):
    """Calls ``changed`` for each datagram that tells of a change, and when some may have been missed."""

    def __init__(self, reactor: IReactor, changes: ChangeFilter, changed: Callable[[], None]) -> None:
        super().__init__(reactor, "watching the node's network")
        self._changes = changes
        self._changed = changed

    def open(self) -> socket.socket:
        """See `SocketReader`."""
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        opened = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        try:
            attach(opened)
        except OSError as problem:
            # `ChangeFilter` looks at everything all the same; it costs more.
            _log.info("the kernel filters no netlink messages: {problem}", problem=problem)
        try:
            opened.bind((0, GROUPS))
        except OSError:
            opened.close()
            raise
        return opened

    def reopened(self) -> None:
        """See `SocketReader`."""
        self._changed()

    def doRead(self) -> None:
        """See `SocketReader`."""
        changed = False
        for _ in range(READS):
            if self.sock is None:
                return
            try:
                data = self.sock.recv(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:
                    self.connectionLost(Failure(problem))
                    return
                metrics.OVERRUNS.inc()
                changed = True
            else:
                changed |= self._changes.tells_of_change(data)
        if changed:
            self._changed()
