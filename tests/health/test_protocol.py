"""One connection: how fast a node says what it has to say."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.health.protocol import HealthProtocol
from superedge.health.votes.ballot import SignedBallot
from superedge.health.votes.messages import Ballots, Chain, Hello, Message


class Wire:
    """A transport whose writes arrive at once at the protocol at the other end."""

    def __init__(self) -> None:
        self.other: Any = None

    def write(self, data: bytes) -> None:
        self.other.dataReceived(data)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Everything is read at once."""

    def abortConnection(self) -> None:
        """The test looks at the reason."""


class PaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.heard: list[Message] = []
        wires = Wire(), Wire()
        self.ends = [HealthProtocol(self.clock, self.hello, self.received, self.ended) for _ in wires]
        for end, wire, other in zip(self.ends, wires, reversed(self.ends), strict=True):
            wire.other = other
            end.transport = wire
        for end in self.ends:
            end.connectionMade()

    def tearDown(self) -> None:
        for end in self.ends:
            end.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def hello(self, connection: HealthProtocol) -> Hello:
        return Hello(1, True, 0)

    def received(self, connection: HealthProtocol, message: Message) -> None:
        if connection is self.ends[1]:
            self.heard.append(message)

    def ended(self, connection: HealthProtocol, reason: str) -> None:
        """Nothing follows from it."""

    def vote(self, voter: int, body: bytes) -> None:
        self.ends[0].vote(SignedBallot(body, bytes(256), b"%016d" % voter), (bytes(1500), bytes(1500)))

    def test_the_ballots_of_a_large_unit_are_no_flood(self) -> None:
        for number in range(1000):
            self.vote(number, bytes(600))
        self.vote(999, b"newer")
        self.assertGreater(len(self.heard), 400, "most of a unit's are sent at once")
        self.clock.pump([0.1] * 250)
        self.assertEqual(self.ends[1]._reason, "")
        said = [each.ballots[0] for each in self.heard if isinstance(each, Ballots)]
        self.assertEqual([each.key for each in said], [b"%016d" % number for number in range(1000)])
        self.assertEqual(said[-1].body, b"newer")
        self.assertEqual(sum(isinstance(each, Chain) for each in self.heard), 1000)
