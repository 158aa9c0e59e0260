"""Who is told of halves: those whose class says so, or a class above it."""

from __future__ import annotations

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from superedge.net.halfclose import half_closeable
from superedge.net.splice import Splice


class HalvesTests(SynchronousTestCase):
    def test_a_class_says_so_for_its_instances_and_heirs(self) -> None:
        @implementer(IHalfCloseableProtocol)
        class Whole(Protocol):
            def readConnectionLost(self) -> None:
                pass

            def writeConnectionLost(self) -> None:
                pass

        class Heir(Whole):
            pass

        for protocol in (Whole(), Heir(), Splice().left):
            self.assertIs(half_closeable(protocol), protocol)

    def test_others_are_not_asked(self) -> None:
        self.assertIsNone(half_closeable(Protocol()))
        self.assertIsNone(half_closeable(None))
