"""Messages on a connection: a link between nodes, or a node's stream to the cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from superedge.health.votes.ballot import SignedBallot
from superedge.health.votes.messages import (
    FROM_PEER,
    Ballots,
    Chain,
    Hello,
    Message,
    MessageError,
    MessageReader,
    encode_message,
)
from superedge.net.bucket import TokenBucket

MESSAGE_TIMEOUT = 10.0
"""Seconds that the other side has for its hello, and for the rest of a message that has begun."""
RATE = 200 * 1024
"""Bytes a second that the other side may send for long; MESSAGE_TIMEOUT seconds of it at once."""
MESSAGE = 512
"""Bytes that a message counts for beside its own."""

Received = Callable[["HealthProtocol", Message], None]


class HealthProtocol(Protocol):
    """One connection. ``ended`` is told once why it is over."""

    transport: Any

    def __init__(
        self,
        reactor: IReactorTime,
        hello: Callable[[HealthProtocol], Hello],
        received: Received,
        ended: Callable[[HealthProtocol, str], None],
        limit: int = FROM_PEER,
    ) -> None:
        """``hello`` makes what is said first; ``limit`` is of the other side's messages, in bytes."""
        self._reactor = reactor
        self._hello = hello
        self._received = received
        self._ended = ended
        self._reader = MessageReader(limit)
        self._bucket = TokenBucket(RATE, reactor.seconds())
        self._deadline: IDelayedCall | None = None
        self._shown: set[bytes] = set()
        self._reason = ""
        self.heard: Hello | None = None
        """What the other side said first."""
        self.admit: Callable[[HealthProtocol], str | None] = lambda connection: None
        """ConfiguredProbe before anything is said: why the other side is not to be talked to."""

    def connectionMade(self) -> None:
        """Say hello, and expect one."""
        refusal = self.admit(self)
        if refusal is not None:
            self.end(refusal)
            return
        self._expect()
        self.send(self._hello(self))

    def send(self, *messages: Message) -> None:
        """Say something."""
        self.transport.write(b"".join(map(encode_message, messages)))

    def show(self, key: bytes, chain: tuple[bytes, ...]) -> None:
        """Show a voter's certificate, once."""
        if key not in self._shown:
            self._shown.add(key)
            self.send(Chain(chain))

    def vote(self, signed: SignedBallot, chain: tuple[bytes, ...]) -> None:
        """Send a ballot, behind its voter's certificate."""
        self.show(signed.key, chain)
        self.send(Ballots((signed,)))

    def end(self, reason: str) -> None:
        """Leave."""
        self._reason = self._reason or reason
        self.transport.abortConnection()

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self._reactor.callLater(MESSAGE_TIMEOUT, self._late)

    def _late(self) -> None:
        self._deadline = None
        self.end(f"no whole message within {MESSAGE_TIMEOUT:g} s")

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def dataReceived(self, data: bytes) -> None:
        """Read messages."""
        try:
            self._take(data)
        except MessageError as problem:
            self.end(str(problem))

    def _take(self, data: bytes) -> None:
        self._charge(len(data))
        for message in self._reader.feed(data):
            self._charge(MESSAGE)
            self._arrived()
            if self._reason:
                return
            if self.heard is None and not isinstance(message, Hello):
                raise MessageError("the first message is no hello")
            if isinstance(message, Hello):
                self.heard = message
            self._received(self, message)
        if self._reader.partial or self.heard is None:
            self._expect()

    def _charge(self, size: int) -> None:
        now = self._reactor.seconds()
        self._bucket.consume(size, now)
        if self._bucket.delay(now) > MESSAGE_TIMEOUT:
            raise MessageError(f"more than {RATE} bytes a second")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whose connection it is."""
        self._arrived()
        self._ended(self, self._reason or reason.getErrorMessage())
