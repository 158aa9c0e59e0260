"""Questions to one server over UDP, from source ports that nobody can foretell.

Whoever forges an answer has to guess the source port and the id of the question (RFC 5452 section 9). A
socket for each question would cost more than the rest of forwarding it. A question leaves from a random one
of `PORTS` sockets, each of which is soon replaced by another; while there are fewer, it gets a new one.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.config.addresses import TCPAddress
from superedge.dns.messages import answers
from superedge.errors import SuperEdgeError
from superedge.interfaces import IReactor
from superedge.reactor.deadlines import Deadline, Deadlines

PORTS = 64
"""Sockets that questions leave from."""
USES = 32
"""Questions that leave from one socket."""
AGE = 10.0
"""Seconds for which questions leave from one socket: the machine's address may have changed since."""
MAX_PACKET = 65535
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN})
_RANDOM = 4096

_packet = bytearray(MAX_PACKET)
"""Where every answer is received: a new buffer of this size for each would cost as much as the call."""
_view = memoryview(_packet)

Done = Callable[[bytes | Exception], None]


class ForwardError(SuperEdgeError):
    """No upstream server answered."""


class NoSocket(ForwardError):
    """This process or this machine has none left: no server's fault."""


class SourcePorts:
    """The sockets for questions to ``server``."""

    def __init__(self, reactor: IReactor, server: TCPAddress, deadlines: Deadlines) -> None:
        self._reactor = reactor
        self.server = server
        self._deadlines = deadlines
        self._ports: list[_Port] = []
        self._retired: set[_Port] = set()
        self._random = b""
        self._taken = 0

    def send(self, question: bytes, section: bytes, done: Done) -> Sent:
        """Send a question, given without its id; ``section`` is its question section.

        ``done`` is called later and once, with the answer or ForwardError. Raises ForwardError.
        """
        port = self._choose()
        number = self._take()
        while number in port.waiting:
            number = self._take()
        try:
            port.send(number + question)
        except OSError as problem:
            if problem.errno in _EXHAUSTED:
                raise NoSocket(f"cannot send to {self.server}: {problem.strerror}") from problem
            # What an earlier question met, or an address that this machine has no more.
            port.fail(problem)
            port = self._open()
            try:
                port.send(number + question)
            except OSError as again:
                port.fail(again)
                raise ForwardError(f"cannot send to {self.server}: {again.strerror}") from again
        port.waiting[number] = section, done
        port.uses += 1
        if port.uses >= USES:
            self.retire(port)
        return port, number

    @staticmethod
    def forget(sent: Sent) -> None:
        """Nobody waits for the answer any more."""
        port, number = sent
        if port.waiting.pop(number, None) is not None:
            port.close_unused()

    def renew(self) -> None:
        """The next questions leave from new sockets."""
        for port in list(self._ports):
            self.retire(port)

    def close(self) -> None:
        """Wait for no answer any more."""
        for port in (*self._ports, *self._retired):
            port.waiting.clear()
            port.close()

    def retire(self, port: _Port) -> None:
        """No question leaves from this one any more; it is closed after its last answer."""
        self._ports.remove(port)
        self._retired.add(port)
        port.expiry.cancel()
        port.retired = True
        port.close_unused()

    def gone(self, port: _Port) -> None:
        """A socket was closed."""
        port.expiry.cancel()
        if port.retired:
            self._retired.remove(port)
        else:
            self._ports.remove(port)

    def _choose(self) -> _Port:
        if len(self._ports) < PORTS:
            try:
                return self._open()
            except NoSocket:
                if not self._ports:
                    raise
        return self._ports[int.from_bytes(self._take(), "big") % len(self._ports)]

    def _open(self) -> _Port:
        try:
            port = _Port(self._reactor, self, connected(self.server))
        except OSError as problem:
            kind = NoSocket if problem.errno in _EXHAUSTED else ForwardError
            raise kind(f"no socket for a question to {self.server}: {problem.strerror}") from problem
        port.expiry = self._deadlines.start(AGE, partial(self.retire, port))
        self._ports.append(port)
        return port

    def _take(self) -> bytes:
        """Two random bytes."""
        if self._taken >= len(self._random):
            self._random, self._taken = os.urandom(_RANDOM), 0
        self._taken += 2
        return self._random[self._taken - 2 : self._taken]


@implementer(IReadDescriptor)
class _Port:
    """One socket. It is connected: what others than the server send does not arrive."""

    expiry: Deadline

    def __init__(self, reactor: IReactor, owner: SourcePorts, sock: socket.socket) -> None:
        self._reactor = reactor
        self._owner = owner
        self._socket = sock
        self.fileno = sock.fileno
        self.send = sock.send
        self.uses = 0
        self.waiting: dict[bytes, tuple[bytes, Done]] = {}
        """By id: the question section, and who is told."""
        self.retired = False
        """Whether no more questions leave from it."""
        reactor.addReader(self)

    def doRead(self) -> None:
        """Take one answer; what is none is passed over."""
        try:
            size = self._socket.recv_into(_packet)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as problem:
            self.fail(problem)
            return
        data = bytes(_view[:size])
        found = self.waiting.get(data[:2])
        if found is None or not answers(data, found[0]):
            return
        del self.waiting[data[:2]]
        self.close_unused()
        found[1](data)

    def fail(self, problem: OSError) -> None:
        """The server's machine refuses, or the address of this one is gone: all that wait are told."""
        waiting, self.waiting = self.waiting, {}
        self.close()
        for _, done in waiting.values():
            done(ForwardError(f"{self._owner.server} refuses: {problem.strerror}"))

    def connectionLost(self, reason: Failure) -> None:
        """The socket has an error, or the reactor stops."""
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.fail(OSError(code, os.strerror(code)))

    def logPrefix(self) -> str:
        """For the reactor's log."""
        return "dns"

    def close_unused(self) -> None:
        """Close it if no question leaves from it and none waits."""
        if self.retired and not self.waiting:
            self.close()

    def close(self) -> None:
        """Release the socket."""
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()
            self._owner.gone(self)


Sent = tuple[_Port, bytes]
"""Where a question waits, and under which id."""


def connected(server: TCPAddress) -> socket.socket:
    """A UDP socket whose port the kernel chose at random. Raises OSError."""
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect((server.host, server.port))
    except OSError:
        sock.close()
        raise
    return sock
