"""A socket that is read for as long as its owner runs: after an error another one takes its place."""

from __future__ import annotations

from socket import socket

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.interfaces import IReactor
from superedge.reactor.loops import Loop


@implementer(IReadDescriptor)
class SocketReader:
    """Reads ``sock``; a subclass has `open` and `doRead`.

    The reactor drops a reader whose `doRead` returns or raises an exception. This one then closes the socket,
    opens another and calls `reopened`. The log tells of it, and the health page while none can be opened,
    under the name ``name``.
    """

    sock: socket | None = None

    def __init__(self, reactor: IReactor, name: str) -> None:
        self._reactor = reactor
        self._lost: Deferred[None] = Deferred()
        self._loop = Loop(reactor, name, self._run)

    def open(self) -> socket:
        """A new socket, which does not block. Raises OSError."""
        raise NotImplementedError

    def reopened(self) -> None:
        """Another socket is there: what came between the two is lost."""

    def doRead(self) -> None:
        """Read what is there."""
        raise NotImplementedError

    def start(self) -> None:
        """Open the socket, unless ``sock`` is one, and read it. Raises OSError."""
        if self.sock is None:
            self.sock = self.open()
        self._loop.start()

    def stop(self) -> None:
        """Close the socket."""
        self._loop.stop()

    async def _run(self) -> None:
        sock = self.sock
        if sock is None:
            sock = self.sock = self.open()
            self.reopened()
        self._lost = Deferred()
        try:
            self._reactor.addReader(self)
            self._loop.iteration_done()
            await self._lost
        finally:
            try:
                self._reactor.removeReader(self)
            finally:
                self.sock = None
                sock.close()

    def fileno(self) -> int:
        return -1 if self.sock is None else self.sock.fileno()

    def logPrefix(self) -> str:
        return type(self).__name__

    def connectionLost(self, reason: Failure) -> None:
        """Nothing more can be read. `doRead` may call it, and the reactor does when it drops the reader."""
        if not self._lost.called:
            self._lost.errback(reason)
