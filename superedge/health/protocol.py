"""The Twisted protocol of a link between two nodes, and of a node's stream to the cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

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
"""Seconds in which the peer must send its Hello, and the rest of a message that it has begun."""
READ_TIMEOUT = 60.0
"""Seconds for which bytes may wait for a peer that does not read them."""
RATE = 200 * 1024
"""Bytes a second that the peer may send; a burst may have MESSAGE_TIMEOUT times as many."""
MESSAGE = 512
"""Bytes that each message counts in addition to its size: small messages cost time, too."""
AT_ONCE = MESSAGE_TIMEOUT / 2
"""Seconds of RATE that ballots may use at once: half of what the peer allows, as they may arrive together."""

PAUSE = 0.1
"""Least seconds until more of the ballots that wait are sent."""

Received = Callable[["HealthProtocol", Message], None]


@implementer(IPushProducer)
class HealthProtocol(Protocol):
    """One connection. ``ended`` is called once, with the reason.

    As a producer it sends on while it is paused, but not for long: what it has to say does not wait.
    """

    transport: Any

    def __init__(
        self,
        reactor: IReactorTime,
        hello: Callable[[HealthProtocol], Hello],
        received: Received,
        ended: Callable[[HealthProtocol, str], None],
        limit: int = FROM_PEER,
    ) -> None:
        """``hello`` makes the first message; ``limit`` is the maximum size of received messages in bytes."""
        self._reactor = reactor
        self._hello = hello
        self._received = received
        self._ended = ended
        self._reader = MessageReader(limit)
        self._bucket = TokenBucket(RATE, reactor.seconds())
        self._sent = TokenBucket(RATE, reactor.seconds())
        """Counts as the peer does."""
        self._votes: dict[bytes, tuple[SignedBallot, tuple[bytes, ...]]] = {}
        """Ballots that wait, by the keys of their certificates."""
        self._voting: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None
        self._stuck: IDelayedCall | None = None
        self._shown: set[bytes] = set()
        self._reason = ""
        self.heard: Hello | None = None
        """The peer's Hello, once it arrived."""
        self.admit: Callable[[HealthProtocol], str | None] = lambda connection: None
        """Called before the first message; returns why the connection is refused, or None."""

    def connectionMade(self) -> None:
        """Send the Hello and wait for the peer's."""
        refusal = self.admit(self)
        if refusal is not None:
            self.end(refusal)
            return
        self._expect()
        self.transport.registerProducer(self, True)
        self.send(self._hello(self))

    def send(self, *messages: Message) -> None:
        """Send messages."""
        data = b"".join(map(encode_message, messages))
        self._sent.consume(len(data) + MESSAGE * len(messages), self._reactor.seconds())
        self.transport.write(data)

    def vote(self, signed: SignedBallot, chain: tuple[bytes, ...]) -> None:
        """Send a ballot, and before its voter's first the voter's certificate chain.

        It waits while the peer would take it for part of a flood; a newer one of the same voter replaces it.
        """
        self._votes[signed.key] = signed, chain
        if self._voting is None:
            self._send_votes()

    def _send_votes(self) -> None:
        self._voting = None
        while self._votes:
            wait = self._sent.delay(self._reactor.seconds()) - AT_ONCE
            if wait > 0:
                self._voting = self._reactor.callLater(max(wait, PAUSE), self._send_votes)
                return
            key = next(iter(self._votes))
            signed, chain = self._votes.pop(key)
            if key not in self._shown:
                self._shown.add(key)
                self.send(Chain(chain))
            self.send(Ballots((signed,)))

    def end(self, reason: str) -> None:
        """Abort the connection."""
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

    def pauseProducing(self) -> None:
        """The peer does not read."""
        if self._stuck is None:
            self._stuck = self._reactor.callLater(READ_TIMEOUT, self._unread)

    def resumeProducing(self) -> None:
        """The peer has read."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def stopProducing(self) -> None:
        """Required by IPushProducer."""

    def _unread(self) -> None:
        self._stuck = None
        self.end(f"the peer read nothing for {READ_TIMEOUT:g} s")

    def dataReceived(self, data: bytes) -> None:
        """Decode and dispatch messages."""
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
                raise MessageError("the first message is not a Hello")
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
        """Call ``ended``."""
        self._arrived()
        self.resumeProducing()
        self._votes.clear()
        if self._voting is not None:
            self._voting.cancel()
            self._voting = None
        self._ended(self, self._reason or reason.getErrorMessage())
