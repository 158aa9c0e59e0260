"""Two MuxConnections joined in memory, with a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.mux.protocol import MuxConnection
from superedge.mux.settings import MuxSettings
from superedge.mux.stream import MuxStream


class MemoryTransport:
    """One direction's queue; ``Pair.pump`` carries it over."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.closed: Exception | None = None
        self.producer: Any = None
        self.patience: float | None = None
        self.reading = True

    def write(self, data: bytes) -> None:
        self.out.append(bytes(data))

    def writeSequence(self, chunks: Any) -> None:
        self.write(b"".join(chunks))

    def keep_queue_short(self, unsent: int) -> None:
        pass

    def give_up_after(self, seconds: float) -> None:
        self.patience = seconds

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseConnection(self) -> None:
        self.closed = self.closed or ConnectionDone()

    def abortConnection(self) -> None:
        self.closed = ConnectionAborted()

    def getPeer(self) -> Any:
        return IPv4Address("TCP", "192.0.2.1", 1)

    getHost = getPeer


class Pair:
    """``dialer`` and ``acceptor``; streams the dialer opens land in ``accepted``."""

    def __init__(self, settings: MuxSettings | None = None, chunk: int = 1 << 30) -> None:
        self.clock = Clock()
        self.chunk = chunk
        self.accepted: list[MuxStream] = []
        self.on_accept: Callable[[MuxStream], None] = self.accepted.append
        self.severed = False
        self.ends: list[MuxConnection] = []
        self.transports: list[MemoryTransport] = []
        for dialer in (True, False):
            connection = MuxConnection(
                self.clock,
                dialer=dialer,
                settings=settings or MuxSettings(),
                accept=lambda stream: self.on_accept(stream),
            )
            transport = MemoryTransport()
            self.ends.append(connection)
            self.transports.append(transport)
        for connection, transport in zip(self.ends, self.transports, strict=True):
            connection.makeConnection(transport)
        self.dialer, self.acceptor = self.ends

    def step(self) -> bool:
        """Run what is due and carry what was written; whether anything happened."""
        self.clock.advance(0)
        transferred = False
        for index, transport in enumerate(self.transports):
            data, transport.out = b"".join(transport.out), []
            if self.severed:
                continue
            for start in range(0, len(data), self.chunk):
                transferred = True
                self.ends[1 - index].dataReceived(data[start : start + self.chunk])
                while not self.transports[1 - index].reading:
                    self.clock.advance(0)
        for index, transport in enumerate(self.transports):
            if transport.closed is not None and not transport.out:
                reason, transport.closed = Failure(transport.closed), None
                for end in (index, 1 - index):
                    if not self.severed:
                        self.ends[end].connectionLost(reason)
        return transferred

    def pump(self) -> None:
        """Step until nothing moves."""
        while self.step():
            pass
        self.clock.advance(0)

    def streams(self, far_protocol: Protocol, near_protocol: Protocol) -> tuple[MuxStream, MuxStream]:
        """A stream from the dialer, both ends connected."""
        near = self.dialer.open()
        near.connect(near_protocol)
        self.pump()
        far = self.accepted[-1]
        far.connect(far_protocol)
        return near, far


@implementer(IHalfCloseableProtocol)
class Recorder(Protocol):
    """Notes everything that happens to its stream."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.fin = False
        self.lost: Exception | None = None

    @property
    def data(self) -> bytes:
        return b"".join(self.received)

    def dataReceived(self, data: bytes) -> None:
        assert not self.fin and self.lost is None
        self.received.append(data)

    def readConnectionLost(self) -> None:
        assert not self.fin
        self.fin = True

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.lost is None
        assert reason.value is not None
        self.lost = reason.value  # type: ignore[assignment]
