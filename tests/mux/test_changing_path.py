"""One stream over a path whose round trip changes under it."""

from __future__ import annotations

from collections import deque

from twisted.trial.unittest import SynchronousTestCase

from superedge.mux.session import Session
from superedge.mux.settings import MuxSettings
from superedge.mux.state import Stream

STEP = 0.001
PIECE = bytes(64 * 1024)
RATE = len(PIECE) / STEP


class Reader:
    """Takes everything at once."""

    def __init__(self, session: Session, stream: Stream) -> None:
        self.session, self.stream = session, stream
        self.count = 0

    def data_received(self, data: bytes) -> None:
        self.count += len(data)
        self.session.consumed(self.stream, len(data))

    def fin_received(self) -> None:
        pass

    def was_reset(self, reason: str) -> None:
        pass

    def drained(self) -> None:
        pass

    finished = fin_received


class Path:
    """A sender that always has more, a reader that waits for nothing, and ``rate`` bytes a second between."""

    def __init__(self, rate: float, rtt: float) -> None:
        self.now, self.rate, self.rtt = 0.0, rate, rtt
        self.sender = Session(True, MuxSettings(), lambda stream: None, 0.0)
        self.receiver = Session(False, MuxSettings(), self.accepted, 0.0)
        self.under_way: tuple[deque[tuple[float, bytes]], ...] = (deque(), deque())
        self.stream = self.sender.open()
        self.stream.events = Reader(self.sender, self.stream)

    def accepted(self, stream: Stream) -> None:
        self.reader = stream.events = Reader(self.receiver, stream)

    def run(self, seconds: float) -> float:
        """Bytes a second that the reader gets meanwhile."""
        before = self.reader.count if self.stream.transferred else 0
        for _ in range(int(seconds / STEP)):
            self.now += STEP
            while self.stream.unsent < self.rate * STEP + len(PIECE):
                self.sender.send(self.stream, PIECE)
            ends = (self.sender, self.receiver)
            for end, other, under_way in zip(ends, ends[::-1], self.under_way, strict=True):
                end.tick(self.now)
                under_way.append((self.now + self.rtt / 2, b"".join(end.pull(int(self.rate * STEP)))))
                while under_way and under_way[0][0] <= self.now:
                    if data := under_way.popleft()[1]:
                        other.receive(data, self.now)
                        other.processed(self.now)
        return (self.reader.count - before) / seconds


class ChangingPathTests(SynchronousTestCase):
    def test_a_round_trip_that_rises_costs_a_second_at_most(self) -> None:
        for before, after in ((0.0, 0.03), (0.002, 0.1), (0.01, 0.3)):
            path = Path(RATE, before)
            path.run(1.0)
            path.rtt = after
            path.run(1.0)
            self.assertGreater(path.run(0.5), 0.85 * path.rate, (before, after))

    def test_one_that_falls_back_costs_nothing(self) -> None:
        path = Path(RATE, 0.1)
        path.run(1.0)
        path.rtt = 0.002
        self.assertGreater(path.run(0.5), 0.9 * path.rate)
