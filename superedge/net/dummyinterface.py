"""A dummy interface that has addresses for as long as this process lives.

Making it takes the right to administer the network (CAP_NET_ADMIN), which the process gives up afterwards. A
child process keeps that right and nothing else, waits for the end of this one, however it comes, and removes
the interface.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from twisted.logger import Logger

from superedge.errors import SuperEdgeError
from superedge.net import rtnetlink
from superedge.net.capabilities import ALL, NET_ADMIN, drop_capabilities
from superedge.net.rtnetlink import IPAddress, Message

LOOPBACK = "lo"
HANDOVER = 5.0
"""Seconds for which another process's interface of the name may be about to be removed."""
_MAX_ANSWER = 1 << 20
_log = Logger()


class InterfaceError(SuperEdgeError):
    """The interface cannot be made."""


class Made(NamedTuple):
    """What is to be removed in the end: the interface, or addresses of one that others use as well."""

    link: int
    whole: bool
    addresses: Sequence[IPAddress]


class DummyInterface:
    """The interface ``name`` with those of ``addresses`` that this machine does not have otherwise.

    A dummy interface of the name that is there is taken over. Loopback gets the addresses where the kernel
    has no dummy interfaces.
    """

    def __init__(self, name: str, addresses: Sequence[IPAddress]) -> None:
        self._name = name
        self._addresses = addresses
        self._child: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make it, and give up the right to. To be called before there are threads. Raises InterfaceError."""
        try:
            hold = self._hold()
            with hold, _Route() as route:
                made = self._make(route)
                if made is not None:
                    self._child = _leave_to_child(hold, made)
            drop_capabilities([NET_ADMIN])
        except PermissionError as problem:
            raise InterfaceError(f"interface {self._name}: making it needs CAP_NET_ADMIN") from problem
        except OSError as problem:
            raise InterfaceError(f"interface {self._name}: {problem.strerror or problem}") from problem

    def remove(self) -> None:
        """Remove it, if it was made."""
        if self._child is not None:
            self._child.communicate()
            self._child = None

    def _hold(self) -> socket.socket:
        """A lock on the name, which the child keeps; a process that is about to end is waited for."""
        hold = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        name = f"\0superedge/{self._name}"
        try:
            hold.bind(name)
        except OSError:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                other.settimeout(HANDOVER)
                try:
                    other.connect(name)
                    other.recv(1)
                except TimeoutError:
                    hold.close()
                    raise InterfaceError(
                        f"interface {self._name}: another process has it and does not end"
                    ) from None
                except OSError:
                    pass  # it has ended
            hold.bind(name)
        hold.listen()
        return hold

    def _make(self, route: _Route) -> Made | None:
        found = [rtnetlink.read_address(each) for each in route.ask(rtnetlink.get_addresses())]
        there = {address: index for index, address in found}
        missing = [address for address in self._addresses if address not in there]
        try:
            index, whole = self._interface(route)
            route.ask(rtnetlink.set_up(index))
            for address in missing:
                route.ask(rtnetlink.new_address(index, address))
        except PermissionError:
            if missing:
                raise
            return None  # somebody else made everything
        own = [address for address in self._addresses if there.get(address, index) == index]
        return Made(index, whole, own)

    def _interface(self, route: _Route) -> tuple[int, bool]:
        """Its index, and whether nobody else uses it."""
        name = self._name
        try:
            route.ask(rtnetlink.new_dummy(name))
        except OSError as problem:
            if problem.errno == errno.EOPNOTSUPP:
                _log.warn(
                    "no {name}: this kernel has no dummy interfaces; loopback gets its addresses", name=name
                )
                name = LOOPBACK
            elif problem.errno != errno.EEXIST:
                raise
        (link,) = route.ask(rtnetlink.get_link(name))
        index, kind = rtnetlink.read_link(link)
        return index, kind == "dummy"


class _Route:
    """A socket to the kernel's interfaces."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)

    def __enter__(self) -> _Route:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, request: bytes) -> list[Message]:
        """What the kernel answers, which is nothing for a change. Raises OSError."""
        self._socket.send(request)
        found: list[Message] = []
        while True:
            for message in rtnetlink.read_messages(self._socket.recv(_MAX_ANSWER)):
                if message.kind == rtnetlink.ERROR:
                    number = rtnetlink.error_number(message)
                    if number:
                        raise OSError(number, os.strerror(number))
                    return found
                if message.kind == rtnetlink.DONE:
                    return found
                found.append(message)
                if not message.more:
                    return found


def _leave_to_child(hold: socket.socket, made: Made) -> subprocess.Popen[bytes]:
    """Start the process that removes it, which does so when its standard input ends."""
    if made.whole:
        requests = [rtnetlink.del_link(made.link)]
    else:
        requests = [rtnetlink.del_address(made.link, address) for address in made.addresses]
    program = str(Path(__file__).with_name("atend.py"))
    command = [sys.executable, "-I", "-S", program, *(request.hex() for request in requests)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=(hold.fileno(),),
        preexec_fn=_as_child,  # noqa: PLW1509 - there are no threads yet
    )


def _as_child() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    drop_capabilities(number for number in ALL if number != NET_ADMIN)
