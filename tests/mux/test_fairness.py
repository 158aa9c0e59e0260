"""What a peer sends in many small frames is taken in turns with everything else."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.mux.frames import ACK, FRAMES_AT_ONCE, HEADER_SIZE, PING, SYN, header
from tests.mux.pair import Pair


class FairnessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pair = Pair()
        self.pair.pump()
        self.transport = self.pair.transports[1]

    def answers(self) -> int:
        data, self.transport.out = b"".join(self.transport.out), []
        self.assertEqual(data, header(PING, ACK, 0, 7) * (len(data) // HEADER_SIZE))
        return len(data) // HEADER_SIZE

    def test_many_frames_take_several_turns_and_nothing_is_read_before_the_last(self) -> None:
        self.pair.acceptor.dataReceived(header(PING, SYN, 0, 7) * (2 * FRAMES_AT_ONCE + 1))
        self.assertEqual((self.answers(), self.transport.reading), (FRAMES_AT_ONCE, False))
        between: list[tuple[int, bool]] = []
        self.pair.clock.callLater(0, lambda: between.append((self.answers(), self.transport.reading)))
        self.pair.clock.advance(0)
        self.assertEqual(between, [(FRAMES_AT_ONCE, False)])
        self.assertEqual((self.answers(), self.transport.reading), (1, True))

    def test_what_is_left_of_a_connection_that_has_ended_is_dropped(self) -> None:
        self.pair.acceptor.dataReceived(header(PING, SYN, 0, 7) * (FRAMES_AT_ONCE + 1))
        self.answers()
        self.pair.acceptor.connectionLost(Failure(ConnectionLost()))
        self.pair.clock.advance(0)
        self.assertEqual(self.answers(), 0)
